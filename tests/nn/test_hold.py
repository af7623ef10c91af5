import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

from scnode import ScnodeError, ode
from scnode.nn import ENCODERS, DecodedReadout, Hold, LinearReadout, side_by_side

A = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]], dtype=torch.float64)
B = torch.tensor([0.5, -1.0], dtype=torch.float64)
MATRIX = torch.tensor([[0.0, 1.0, 0.3], [-1.0, 0.2, 0.0], [0.5, 0.0, -0.4]], dtype=torch.float64)
TIGHT = {"rtol": 1e-9, "atol": 1e-11}


def linear(t, y):
    return y @ MATRIX.T


def levels(t):
    at = t.squeeze(-1) if t.ndim else t
    return torch.stack([0.5 + torch.sin(3 * at), at.square() - 1], -1)


class Circle:
    """The square of the distance from the origin."""

    linear = False

    def __call__(self, states):
        return states.square().sum(-1, keepdim=True)

    def linearised(self, states):
        return self(states), 2 * states.unsqueeze(-2)


def circle(radius):
    return Hold(Circle(), torch.tensor([radius**2], dtype=torch.float64))


def decoder(kind):
    """A decoder with weights of its own, in double precision."""
    made, generator = ENCODERS[kind](9, 3, hidden=[6]), torch.Generator().manual_seed(0)
    state = {k: 0.4 * torch.randn(v.shape, generator=generator) for k, v in made.state_dict().items()}
    made.load_state_dict(state | {k: v.abs() + 0.5 for k, v in state.items() if k in ("unit", "scale")})
    return made.double()


def points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_confined_states_meet_the_constraint_with_the_least_change():
    states = points(7, 3)
    moved = Hold(A, B).confine(states)
    torch.testing.assert_close(moved @ A.T, B.expand(7, 2))
    # The least change has no part along the plane.
    along = np.linalg.svd(A.numpy())[2][2:]
    np.testing.assert_allclose((moved - states).numpy() @ along.T, 0, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 2])
def test_flow_stays_on_the_constraint_and_keeps_the_rest(rows):
    hold = Hold(A[:rows], B[:rows])
    start = hold.confine(torch.ones(1, 3, dtype=torch.float64))
    ts = torch.linspace(0, 2, 5, dtype=torch.float64)
    ys = ode.solve(hold.wrap(linear), start, ts, rtol=1e-9, atol=1e-10).ys
    torch.testing.assert_close(ys @ A[:rows].T, B[:rows].expand(1, 5, rows), atol=1e-7, rtol=0)
    across = torch.linalg.pinv(A[:rows]) @ A[:rows]
    expected = linear(None, start) @ (torch.eye(3, dtype=torch.float64) - across).T
    torch.testing.assert_close(hold.wrap(linear)(torch.zeros(()), start), expected, atol=1e-12, rtol=0)


def test_flow_follows_a_level_that_moves():
    """Against the equation with the pseudoinverse, by SciPy."""
    hold = Hold(A, levels)
    start = hold.confine(torch.ones(2, 3, dtype=torch.float64) * torch.tensor([[1.0], [-2.0]]), torch.zeros(()))
    ts = torch.linspace(0, 1.5, 7, dtype=torch.float64)
    ys = ode.solve(hold.wrap(linear), start, ts, **TIGHT).ys
    torch.testing.assert_close(ys @ A.T, levels(ts[:, None]).expand(2, 7, 2), atol=1e-7, rtol=0)
    plus = np.linalg.pinv(A.numpy())

    def exact(t, y):
        rate = np.array([3 * np.cos(3 * t), 2 * t])
        return (np.eye(3) - plus @ A.numpy()) @ (MATRIX.numpy() @ y) + plus @ rate

    for path, y0 in zip(ys, start, strict=True):
        known = solve_ivp(exact, (0, 1.5), y0.numpy(), t_eval=ts.numpy(), rtol=1e-10, atol=1e-12).y.T
        np.testing.assert_allclose(path, known, atol=1e-7)


def test_the_nearest_state_of_a_circle_is_on_the_ray():
    states = points(20, 2)
    # Gauss-Newton stops where the change is across the level set to a twentieth.
    expected = 1.5 * states / states.norm(dim=1, keepdim=True)
    moved = circle(1.5).confine(states)
    torch.testing.assert_close(moved.norm(dim=1), torch.full((20,), 1.5, dtype=torch.float64), atol=1e-4, rtol=0)
    assert ((moved - expected).norm(dim=1) < 0.06 * (moved - states).norm(dim=1) + 1e-4).all()


def test_flow_on_a_circle_is_that_of_its_angle():
    """The field (1, 0) moves the angle by its sine over the radius: tan(a/2) decays."""
    angle, radius = torch.linspace(0.4, 2.8, 5, dtype=torch.float64), 2.0
    start = radius * torch.stack([angle.cos(), angle.sin()], 1)
    field = circle(radius).wrap(lambda t, y: torch.tensor([1.0, 0.0], dtype=y.dtype).expand_as(y))
    ys = ode.solve(field, start, torch.tensor([0.0, 3.0], dtype=torch.float64), **TIGHT).ys[:, -1]
    expected = 2 * torch.atan((angle / 2).tan() * np.exp(-3.0 / radius))
    torch.testing.assert_close(torch.atan2(ys[:, 1], ys[:, 0]), expected, atol=1e-7, rtol=0)


def test_what_is_off_the_level_comes_back_at_the_rate_stated():
    start = torch.tensor([[1.3, 0.2], [0.1, 0.6]], dtype=torch.float64)
    hold, ts = circle(1.0), torch.tensor([0.0, 0.1, 0.3], dtype=torch.float64)
    ys = ode.solve(hold.wrap(lambda t, y: torch.stack([y[..., 1], -y[..., 0]], -1)), start, ts, **TIGHT).ys
    gap = ys.square().sum(-1) - 1
    torch.testing.assert_close(gap, gap[:, :1] * torch.exp(-10 * ts), atol=1e-7, rtol=0)


def test_errors_of_a_loose_solver_do_not_add_up():
    """Ten turns in steps that alone spiral away."""

    def turn(t, y):
        return torch.stack([-y[..., 1], y[..., 0]], -1)

    start, ts = torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([0.0, 30.0, 60.0], dtype=torch.float64)
    held, free = (
        (ode.solve(field, start, ts, solver="ralston", step=0.1).ys.norm(dim=-1)[0] - 1).abs()
        for field in (circle(1.0).wrap(turn), turn)
    )
    assert free[2] > 1.9 * free[1] > 5e-3
    assert held[2] < 1.01 * held[1] < 5e-3


@pytest.mark.parametrize("kind", ["autoencoder", "vae", "vae-zinb"])
def test_decoded_readouts_have_the_slopes_of_finite_differences(kind):
    made, states, h = decoder(kind), points(4, 3), 1e-6
    for columns in (torch.tensor([2, 7]), torch.tensor([[0, 1], [2, 3], [8, 4], [5, 5]])):
        readout = DecodedReadout(made, columns)
        with torch.no_grad():
            value, slope = readout.linearised(states)
            full = made.decode(states)
            expected = full[:, columns] if columns.ndim == 1 else full.gather(1, columns)
            torch.testing.assert_close(value, expected)
            for axis, step in enumerate(h * torch.eye(3, dtype=torch.float64)):
                difference = (readout(states + step) - readout(states - step)) / (2 * h)
                torch.testing.assert_close(slope[..., axis], difference, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["autoencoder", "vae", "vae-zinb"])
def test_states_of_a_decoded_level_are_the_nearest(kind):
    """No farther than SciPy's constrained minimiser goes from the same starts."""
    made, states = decoder(kind), points(30, 3)
    readout = DecodedReadout(made, torch.tensor([4]))
    with torch.no_grad():
        level = readout(points(1, 3, seed=5))[0]
        moved = Hold(readout, level).confine(states)
        torch.testing.assert_close(readout(moved), level.expand(30, 1), atol=1e-4, rtol=0)

        def off(z):
            return float(readout(torch.from_numpy(z)[None])[0, 0] - level[0])

        for start, end in list(zip(states.numpy(), moved.numpy(), strict=True))[:8]:
            best = minimize(
                lambda z, at=start: ((z - at) ** 2).sum(), end, constraints={"type": "eq", "fun": off}, method="SLSQP"
            )
            least = min(
                np.linalg.norm(best.x - start), np.linalg.norm(end - start) if abs(off(best.x)) > 1e-3 else np.inf
            )
            assert np.linalg.norm(end - start) < 1.02 * least + 1e-3


def test_an_end_has_the_gradient_of_its_level():
    made, states = decoder("autoencoder"), points(2, 3)
    ts = torch.tensor([0.0, 0.4], dtype=torch.float64)

    def end(level):
        hold = Hold(DecodedReadout(made, torch.tensor([4])), level)
        return ode.solve(hold.wrap(linear), states, ts, **TIGHT).ys[:, -1].sum()

    level = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    found = torch.autograd.grad(end(level), level)[0]
    h = 1e-5
    expected = (end(level.detach() + h) - end(level.detach() - h)) / (2 * h)
    torch.testing.assert_close(found[0], expected.detach(), rtol=1e-5, atol=1e-6)


def test_rows_may_have_readouts_of_their_own():
    matrix, offset = points(5, 1, 3, seed=1), points(5, 1, seed=2)
    hold = Hold(LinearReadout(matrix, offset), torch.tensor([0.3], dtype=torch.float64))
    states = points(5, 3)
    ts = torch.linspace(0, 1, 3, dtype=torch.float64)
    ys = ode.solve(hold.wrap(linear), hold.confine(states), ts, **TIGHT).ys
    for row in range(5):
        one = Hold(LinearReadout(matrix[row], offset[row]), hold.level)
        alone = ode.solve(one.wrap(linear), one.confine(states[row : row + 1]), ts, **TIGHT).ys
        torch.testing.assert_close(ys[row : row + 1], alone, atol=1e-7, rtol=0)


def test_a_level_that_no_state_has():
    hold = Hold(DecodedReadout(decoder("vae"), torch.tensor([4])), torch.tensor([9.5], dtype=torch.float64))
    with pytest.raises(ScnodeError, match=r"From 3 of 3 states .* nearest found is .*Pass a level nearer"):
        hold.confine(points(3, 3))
    assert not hold.reach(points(3, 3))[1].any()


def test_noise_along_the_constraint_does_not_move_the_readout():
    states, noise = points(6, 2), torch.rand(6, 2, dtype=torch.float64) + 0.5
    hold = circle(1.0)
    matrix = hold.across(states, noise)
    torch.testing.assert_close((states.unsqueeze(-2) @ matrix)[:, 0], torch.zeros(6, 2, dtype=torch.float64))
    tangent = torch.stack([-states[:, 1], states[:, 0]], 1)
    # Along the circle the noise is what it was.
    torch.testing.assert_close((tangent.unsqueeze(-2) @ matrix)[:, 0], tangent * noise)


def test_rows_with_planes_of_their_own_flow_as_each_would_alone():
    """Values and numbers of steps: one row in a hurry does not set the pace of the others."""
    rate = torch.tensor([[-1.0], [-40.0], [-1.0]], dtype=torch.float64)

    class Rates:
        def __init__(self, rate):
            self.rate = rate

        def __call__(self, t, y):
            return torch.sin(y) @ MATRIX.T + self.rate * (y - 1)

        def at_rows(self, rows):
            return Rates(self.rate[rows])

    readout = LinearReadout(torch.eye(3, dtype=torch.float64)[:, None], points(3, 1))
    hold, ts = Hold(readout, torch.tensor([0.3], dtype=torch.float64)), torch.tensor([0.0, 1.0, 2.0]).double()
    start = hold.confine(points(3, 3))
    both = ode.solve(side_by_side(hold.wrap(Rates(rate)), 1), start, ts, solver="tsit5")
    for row in range(3):
        one = Hold(LinearReadout(readout.matrix[row], readout.offset[row]), hold.level).wrap(Rates(rate[[row]]))
        alone = ode.solve(one, start[[row]], ts, solver="tsit5")
        torch.testing.assert_close(both.ys[[row]], alone.ys, rtol=1e-10, atol=1e-12)
        assert both.stats.n_steps[row] == alone.stats.n_steps[0]
    assert both.stats.n_steps[1] > 2 * both.stats.n_steps[0]


def test_the_change_is_least_in_units_of_the_spread():
    """Against the conditional mean of a Gaussian, and against a search along a curved level set."""
    spread = torch.tensor([[2.0, 0.0, 0.0], [0.5, 1.0, 0.0], [-1.0, 0.3, 0.2]], dtype=torch.float64)
    covariance, states = spread @ spread.T, points(6, 3)
    moved = Hold(A, B, spread).confine(states)
    mean = states + (B - states @ A.T) @ torch.linalg.solve(A @ covariance @ A.T, A @ covariance)
    torch.testing.assert_close(moved, mean)
    near = Hold(Circle(), torch.tensor([1.44], dtype=torch.float64), spread).confine(states)
    assert (near.norm(dim=1) - 1.2).abs().max() < 1e-4
    inverse = torch.linalg.inv(spread).numpy()
    for state, found in zip(states.numpy(), near.numpy(), strict=True):
        sphere = {"type": "eq", "fun": lambda z: z @ z - 1.44}
        best = minimize(lambda z, at=state: np.square(inverse @ (z - at)).sum(), found, constraints=sphere)
        # Of the distance, a hundredth is what the search leaves.
        assert np.linalg.norm(inverse @ (found - state)) < 1.02 * np.sqrt(best.fun) + 1e-4


def test_a_held_flow_keeps_its_level_and_moves_along_the_spread():
    spread = torch.tensor([[2.0, 0.0, 0.0], [0.5, 1.0, 0.0], [-1.0, 0.3, 0.2]], dtype=torch.float64)
    hold = Hold(A[:1], B[:1], spread)
    start = hold.confine(points(4, 3))
    change = hold.wrap(linear)(torch.zeros(()), start) - linear(None, start)
    across = spread @ spread.T @ A[0]
    torch.testing.assert_close(change, -(linear(None, start) @ A[0])[:, None] * across / (A[0] @ across))
    ends = ode.solve(hold.wrap(linear), start, torch.tensor([0.0, 1.0], dtype=torch.float64), **TIGHT).ys[:, -1]
    torch.testing.assert_close(ends @ A[0], B[:1].expand(4), atol=1e-7, rtol=0)
    shaken = hold.across(start, torch.ones_like(start))
    torch.testing.assert_close(A[0] @ shaken, torch.zeros(4, 3, dtype=torch.float64), atol=1e-12, rtol=0)
