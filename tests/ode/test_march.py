"""Every trajectory has its own steps, and nobody pays for another."""

import pytest
import torch

from scnode import ode

DOUBLE = torch.float64


class Paced(torch.nn.Module):
    """Rotation at a rate kept in the third state, so that rows stand for themselves."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def forward(self, t, y):
        self.rows.append(len(y))
        return torch.stack([-y[:, 1] * y[:, 2], y[:, 0] * y[:, 2], torch.zeros_like(y[:, 0])], dim=1)


def paced(rates):
    rates = torch.as_tensor(rates, dtype=DOUBLE)
    return torch.stack([torch.ones_like(rates), torch.zeros_like(rates), rates], dim=1)


def exact(y0, ts):
    angle = y0[:, 2:] * ts
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


@pytest.mark.parametrize("solver", ["tsit5", "dopri5", "rodas5p", "radau5", "auto"])
def test_a_hard_cell_is_as_exact_as_alone(solver):
    y0, ts = paced([1.0] * 200 + [40.0]), torch.linspace(0, 2, 3, dtype=DOUBLE)
    together = ode.solve(Paced(), y0, ts, solver=solver, rtol=1e-4, atol=1e-6)
    alone = ode.solve(Paced(), y0[-1:], ts, solver=solver, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(together.ys[-1:], alone.ys, rtol=1e-9, atol=1e-10)
    assert together.stats.n_steps[-1] > 5 * together.stats.n_steps[0]


def test_cells_that_have_arrived_leave_the_batch():
    field = Paced()
    ode.solve(field, paced([0.1] * 100 + [40.0]), torch.tensor([0.0, 2.0], dtype=DOUBLE), solver="tsit5")
    assert field.rows[-1] == 1
    assert sum(field.rows) < 0.25 * 101 * len(field.rows)


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0]])
def test_the_order_of_the_cells_does_not_matter(order):
    y0, ts = paced([1.0, 5.0, 30.0]), torch.linspace(0, 1, 4, dtype=DOUBLE)
    straight, shuffled = (ode.solve(Paced(), y, ts, rtol=1e-5).ys for y in (y0, y0[order]))
    torch.testing.assert_close(shuffled, straight[order], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("control", ["per_cell", "shared"])
@pytest.mark.parametrize("backward", [False, True])
def test_every_cell_has_its_own_times(turning, control, backward):
    rng = torch.Generator().manual_seed(1)
    ts = torch.rand(7, 5, generator=rng, dtype=DOUBLE).cumsum(1)
    ts = ts.flip(1) if backward else ts
    y0 = torch.randn(7, 2, generator=rng, dtype=DOUBLE)
    solution = ode.solve(turning, y0, ts, control=control, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(solution.ys, turning.exact(y0, ts).detach(), rtol=1e-6, atol=1e-7)


def test_asked_times_do_not_shorten_steps(turning):
    y0 = torch.tensor([[1.0, 0.0]], dtype=DOUBLE)
    few, many = (
        ode.solve(turning, y0, torch.linspace(0, 3, n, dtype=DOUBLE), solver="tsit5", rtol=1e-6) for n in (2, 400)
    )
    assert few.stats.n_evaluations.item() == many.stats.n_evaluations.item()
    torch.testing.assert_close(many.ys, turning.exact(y0, many.ts).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("solver", ["tsit5", "rodas5p", "radau5"])
def test_the_first_and_last_states_are_exactly_the_start_and_the_end_of_the_last_step(turning, solver):
    y0 = torch.tensor([[1.0, 0.3]], dtype=DOUBLE)
    ts = torch.linspace(0, 1, 5, dtype=DOUBLE)
    solution = ode.solve(turning, y0, ts, solver=solver, rtol=1e-6)
    assert torch.equal(solution.ys[:, 0], y0)
    whole = ode.solve(turning, y0, ts[[0, -1]], solver=solver, rtol=1e-6)
    torch.testing.assert_close(solution.ys[:, -1], whole.ys[:, -1], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("solver", ["tsit5", "rodas5p", "radau5", "auto"])
def test_forward_then_back_returns_to_the_start(turning, solver):
    y0 = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    ts = torch.tensor([0.0, 3.0], dtype=DOUBLE)
    end = ode.solve(turning, y0, ts, solver=solver, rtol=1e-9, atol=1e-11).ys[:, -1]
    back = ode.solve(turning, end, ts.flip(0), solver=solver, rtol=1e-9, atol=1e-11).ys[:, -1]
    torch.testing.assert_close(back, y0, rtol=1e-6, atol=1e-6)


def test_semigroup_property(turning):
    y0 = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    ts = torch.tensor([0.0, 1.3, 3.0], dtype=DOUBLE)
    options = {"rtol": 1e-10, "atol": 1e-12}
    whole = ode.solve(turning, y0, ts, **options).ys
    second = ode.solve(turning, whole[:, 1], ts[1:], **options).ys
    torch.testing.assert_close(second[:, -1], whole[:, -1], rtol=1e-7, atol=1e-8)


def test_auto_hands_over_the_stiff_cells_alone():
    def mixed(t, y):
        rate = y[:, 2:]
        return torch.cat([-rate * (y[:, :1] - torch.cos(t)), -y[:, 1:2], torch.zeros_like(rate)], dim=1)

    y0 = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 1e5], [0.0, 1.0, 2.0]], dtype=DOUBLE)
    ts = torch.linspace(0, 3, 4, dtype=DOUBLE)
    solution = ode.solve(mixed, y0, ts, solver="auto", rtol=1e-5, atol=1e-7)
    assert solution.stats.n_switches.bool().tolist() == [False, True, False]
    assert solution.stats.n_steps.max() < 200
    tight = ode.solve(mixed, y0, ts, solver="radau5", rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(solution.ys, tight.ys, rtol=1e-3, atol=1e-4)


def test_auto_returns_to_explicit_steps_when_stiffness_ends():
    def fading(t, y):
        return -(1e5 * torch.exp(-4 * t) + 1) * (y - torch.cos(5 * t))

    y0 = torch.zeros(1, 1, dtype=DOUBLE)
    solution = ode.solve(fading, y0, torch.tensor([0.0, 6.0], dtype=DOUBLE), solver="auto", rtol=1e-6, atol=1e-8)
    assert solution.stats.n_switches.item() >= 2
    tight = ode.solve(fading, y0, solution.ts, solver="rodas5p", rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(solution.ys, tight.ys, rtol=1e-4, atol=1e-5)


def test_a_tight_tolerance_does_not_hide_stiffness_from_auto():
    """Robertson at 1e-8: the estimate inside the steps reads too low, and eigenvalues decide."""

    def robertson(t, y):
        a, b, c = y.unbind(1)
        return torch.stack([-0.04 * a + 1e4 * b * c, 0.04 * a - 1e4 * b * c - 3e7 * b**2, 3e7 * b**2], dim=1)

    y0 = torch.tensor([[1.0, 0.0, 0.0]], dtype=DOUBLE)
    solution = ode.solve(robertson, y0, torch.tensor([0.0, 40.0], dtype=DOUBLE), rtol=1e-8, atol=1e-12)
    assert solution.stats.n_steps.item() < 400


def test_a_field_that_tells_rows_apart_gets_shared_steps():
    inputs = torch.linspace(0, 1, 6, dtype=DOUBLE).unsqueeze(1)
    y0 = torch.ones(6, 1, dtype=DOUBLE)
    ts = torch.linspace(0, 2, 3, dtype=DOUBLE)
    held = ode.solve(lambda t, y: inputs - y, y0, ts, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(held.ys[..., 0], inputs + (1 - inputs) * torch.exp(-ts), rtol=1e-6, atol=1e-8)
    coupled = ode.solve(lambda t, y: y.mean(0) - y, inputs, ts, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(coupled.ys[..., 0], 0.5 + (inputs - 0.5) * torch.exp(-ts), rtol=1e-6, atol=1e-8)
    assert len(set(coupled.stats.n_steps.tolist())) == 1


@pytest.mark.parametrize("control", ["per_cell", "shared"])
def test_cells_without_an_interval_stay_where_they_are(control):
    ts = torch.tensor([[0.0, 1.0, 2.0], [3.0, 3.0, 3.0]], dtype=DOUBLE)
    y0 = torch.ones(2, 1, dtype=DOUBLE)
    solution = ode.solve(lambda t, y: -y, y0, ts, control=control, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(solution.ys[0, :, 0], torch.exp(-ts[0]), rtol=1e-6, atol=1e-8)
    assert torch.equal(solution.ys[1], torch.ones(3, 1, dtype=DOUBLE))
    assert solution.stats.n_steps[1] == 0
