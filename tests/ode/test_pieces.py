import numpy as np
import pytest
import torch

from scnode import SolverError, ode

MATRIX = torch.tensor([[-1.0, 2.0], [-2.0, -0.5]], dtype=torch.float64)
DRIVE = torch.tensor([1.0, -0.5], dtype=torch.float64)
LEVELS, BREAKS = (0.0, 3.0, -1.0), torch.tensor([0.37, 0.71], dtype=torch.float64)
START = torch.tensor([[1.0, 0.0], [0.2, -1.0], [3.0, 2.0]], dtype=torch.float64)
TS = torch.tensor([0.0, 0.2, 0.37, 0.6, 1.0], dtype=torch.float64)
ADAPTIVE = ("auto", "dopri5", "tsit5", "rodas5p", "radau5", "torchdiffeq:dopri5")


def piece(level):
    return lambda t, y: y @ MATRIX.T + level * DRIVE


def exact(ts=TS, start=START, levels=LEVELS, breaks=BREAKS):
    """By the exponential of the system and its constant input."""
    states, now, y = [], float(ts[0]), torch.cat([start, torch.ones(len(start), 1, dtype=torch.float64)], 1)
    for t in ts.tolist():
        edges = [b for b in breaks.tolist() if now < b < t]
        for end in [*edges, t]:
            level = levels[int((breaks <= now).sum())]
            system = torch.zeros(3, 3, dtype=torch.float64)
            system[:2, :2], system[:2, 2] = MATRIX, level * DRIVE
            y, now = y @ torch.matrix_exp(system * (end - now)).T, end
        states.append(y[:, :2])
    return torch.stack(states, 1)


def solved(**options):
    return ode.solve_pieces([piece(level) for level in LEVELS], BREAKS, START, TS, **options)


def whole(t, y):
    level = torch.tensor(LEVELS, dtype=torch.float64)[torch.searchsorted(BREAKS, t.contiguous(), right=True)]
    return y @ MATRIX.T + level * DRIVE


@pytest.mark.parametrize("solver", ADAPTIVE)
def test_jumps_cost_no_accuracy(solver):
    solution = solved(solver=solver, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(solution.ys, exact(), rtol=1e-8, atol=1e-8)
    assert not solution.status.any()
    assert torch.equal(solution.ts, TS)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_fixed_steps_keep_their_order_and_lose_it_across_a_jump(solver, order):
    def error(solution):
        return float((solution.ys - exact()).abs().max())

    errors = [error(solved(solver=solver, step=step)) for step in (0.02, 0.01)]
    assert np.log2(errors[0] / errors[1]) > order - 0.3
    if order > 1:
        blind = error(ode.solve(whole, START, TS, solver=solver, step=0.02, control="shared"))
        assert blind > 20 * errors[0]


def test_adaptive_steps_are_refused_across_a_jump_and_not_within_pieces():
    options = {"solver": "tsit5", "rtol": 1e-8, "atol": 1e-10}
    blind, careful = ode.solve(whole, START, TS, **options), solved(**options)
    assert careful.stats.n_rejected.sum() < blind.stats.n_rejected.sum() / 3
    assert (careful.ys - exact()).abs().max() < (blind.ys - exact()).abs().max()


def test_backward_solves_return_to_the_start():
    ends = exact()[:, -1]
    back = ode.solve_pieces(
        [piece(level) for level in LEVELS], BREAKS, ends, TS.flip(0), solver="tsit5", rtol=1e-10, atol=1e-12
    )
    torch.testing.assert_close(back.ys.flip(1), exact(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("ts", [[0.0, 0.3], [0.4, 0.6], [0.37, 1.0], [0.8, 0.9]])
def test_only_the_pieces_on_the_way_count(ts):
    ts = torch.tensor(ts, dtype=torch.float64)
    found = ode.solve_pieces([piece(u) for u in LEVELS], BREAKS, START, ts, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.ys, exact(ts), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("gradient", sorted(ode.GRADIENTS))
def test_gradients_pass_from_piece_to_piece(gradient):
    """To levels, start and the time of a jump."""

    def loss(levels, start, moment, **options):
        breaks = torch.stack([BREAKS[0], moment])
        fields = [lambda t, y, u=u: y @ MATRIX.T + u * DRIVE for u in levels]
        ys = ode.solve_pieces(fields, breaks, start, TS, solver="tsit5", rtol=1e-9, atol=1e-11, **options).ys
        return ys.square().mean()

    inputs = [torch.tensor(LEVELS, dtype=torch.float64), START.clone(), BREAKS[1].clone()]
    for x in inputs:
        x.requires_grad_()
    found = torch.autograd.grad(loss(*inputs, gradient=gradient), inputs)
    for i, x in enumerate(inputs):
        for place in np.ndindex(*x.shape):
            sides = []
            for step in (1e-5, -1e-5):
                moved = [y.detach().clone() for y in inputs]
                moved[i][place] += step
                sides.append(float(loss(*moved)))
            assert float(found[i][place]) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-4, abs=1e-6)


def test_costs_and_counts_add_up():
    def energy(t, y):
        return y.square().sum(1)

    one = ode.solve_pieces([piece(0.0)], BREAKS[:0], START, TS, running_cost=energy, rtol=1e-9, atol=1e-11)
    cut = ode.solve_pieces([piece(0.0)] * 3, BREAKS, START, TS, running_cost=energy, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(cut.cost, one.cost, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(cut.ys, one.ys, rtol=1e-6, atol=1e-8)
    assert cut.stats.n_calls > one.stats.n_calls
    assert (cut.stats.n_steps >= one.stats.n_steps).all()


def test_a_trajectory_that_is_lost_stays_where_it_was():
    def explodes(t, y):
        return torch.where(y[:, :1] > 2, y**3 * 100, torch.zeros_like(y))

    fields = [explodes, piece(1.0), piece(0.0)]
    found = ode.solve_pieces(fields, BREAKS, START, TS, solver="tsit5", on_failure="return")
    assert found.status.tolist()[:2] == [0, 0]
    assert found.status[2] != 0
    assert torch.equal(found.ys[2, -1], found.ys[2, 2])
    assert not torch.equal(found.ys[0, -1], found.ys[0, 2])


@pytest.mark.parametrize(
    ("fields", "breaks", "ts", "fix"),
    [
        (2, BREAKS, TS, "one field more"),
        (3, BREAKS.flip(0), TS, "increasing breaks"),
        (3, BREAKS, TS.expand(3, -1), r"as \(time,\)"),
    ],
)
def test_what_does_not_fit_is_told(fields, breaks, ts, fix):
    with pytest.raises(SolverError, match=fix):
        ode.solve_pieces([piece(0.0)] * fields, breaks, START, ts)


def test_states_jump_at_the_breaks_and_are_asked_for_after_it():
    def decay(t, y):
        return -y

    jumps = [lambda y: 2 * y, lambda y: y + 1]
    solution = ode.solve_pieces([decay] * 3, BREAKS, START, TS, jumps=jumps, rtol=1e-10, atol=1e-12)
    at = {t: START * np.exp(-t) for t in (0.0, 0.2)} | {t: 2 * START * np.exp(-t) for t in (0.37, 0.6)}
    at[1.0] = (2 * START * np.exp(-0.71) + 1) * np.exp(-0.29)
    torch.testing.assert_close(solution.ys, torch.stack([at[t] for t in TS.tolist()], 1), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("jumps", "ts"), [([abs], TS), ([abs, abs], TS.flip(0))])
def test_jumps_belong_to_breaks_and_go_forward(jumps, ts):
    with pytest.raises(SolverError, match="one for each break, and increasing times"):
        ode.solve_pieces([piece(0.0)] * 3, BREAKS, START, ts, jumps=jumps)
