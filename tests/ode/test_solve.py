import math

import pytest
import torch

from scnode import SolverError, ode


def rotation(t, y):
    return torch.stack([-y[:, 1], y[:, 0]], dim=1)


@pytest.mark.parametrize(("solver", "rtol"), [("auto", 1e-6), ("dopri5", 1e-6), ("dopri8", 1e-5), ("bosh3", 1e-5)])
def test_exponential_decay_reaches_the_tolerance(solver, rtol):
    """The interpolants of dopri8 and bosh3 are of lower order than 5, so their inner times are less exact."""
    ts = torch.linspace(0, 2, 5, dtype=torch.float64)
    y0 = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    out = ode.solve(lambda t, y: -y, y0, ts, solver=solver, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(out.ys[..., 0], y0 * torch.exp(-ts), rtol=rtol, atol=1e-8)
    assert out.stats.n_steps > 0
    assert out.stats.n_evaluations > out.stats.n_steps
    assert (out.status == ode.Status.SUCCESS).all()


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_observed_order_of_fixed_step_methods(solver, order):
    """A smooth non-autonomous problem, since autonomous ones hide wrong nodes."""
    errors = []
    for n in (20, 40):
        ts = torch.linspace(0, 1, n + 1, dtype=torch.float64)
        y0 = torch.ones(1, 1, dtype=torch.float64)
        ys = ode.solve(lambda t, y: y * torch.cos(2 * t), y0, ts, solver=solver).ys
        errors.append(abs(ys[0, -1, 0].item() - math.exp(math.sin(2) / 2)))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


def test_forward_then_back_returns_to_the_start():
    y0 = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ts = torch.tensor([0.0, 3.0], dtype=torch.float64)
    end = ode.solve(rotation, y0, ts, rtol=1e-9, atol=1e-11).ys[:, -1]
    back = ode.solve(rotation, end, ts.flip(0), rtol=1e-9, atol=1e-11).ys[:, -1]
    torch.testing.assert_close(back, y0, rtol=1e-7, atol=1e-7)


def test_every_cell_may_have_its_own_times():
    ts = torch.tensor([[0.0, 0.5, 1.0], [0.0, 1.0, 3.0]], dtype=torch.float64)
    y0 = torch.ones(2, 1, dtype=torch.float64)
    out = ode.solve(lambda t, y: -t * y, y0, ts, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(out.ys[..., 0], torch.exp(-(ts**2) / 2), rtol=1e-6, atol=1e-8)


def test_running_cost_has_its_closed_form():
    k = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    ts = torch.tensor([0.0, 1.0], dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    cost = ode.solve(lambda t, y: -k * y, one, ts, running_cost=lambda t, y: y[:, 0] ** 2, rtol=1e-10, atol=1e-12).cost[
        0, -1
    ]
    assert cost.item() == pytest.approx((1 - math.exp(-1.4)) / 1.4, rel=1e-7)
    (slope,) = torch.autograd.grad(cost, k)
    expected = (math.exp(-1.4) * (1 + 1.4) - 1) / (2 * 0.49)
    assert slope.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gradient", ["backprop", "adjoint"])
def test_gradients_match_finite_differences(gradient):
    torch_rng = torch.Generator().manual_seed(1)
    layer = torch.nn.Linear(2, 2, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(2, 2, dtype=torch.float64, generator=torch_rng))

    class Field(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, t, y):
            return torch.tanh(self.layer(y))

    y0 = torch.randn(3, 2, dtype=torch.float64, generator=torch_rng)
    ts = torch.linspace(0, 1, 3, dtype=torch.float64)

    def loss():
        return ode.solve(Field(), y0, ts, gradient=gradient, rtol=1e-9, atol=1e-11).ys.pow(2).sum()

    (grad,) = torch.autograd.grad(loss(), layer.weight)
    eps = 1e-5
    with torch.no_grad():
        layer.weight[0, 1] += eps
        up = loss()
        layer.weight[0, 1] -= 2 * eps
        down = loss()
    assert grad[0, 1].item() == pytest.approx(((up - down) / (2 * eps)).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        ({"ts": torch.tensor([0.0, 1.0, 1.0])}, "strictly monotone"),
        ({"ts": torch.tensor([0.0])}, "at least two times"),
        ({"y0": torch.ones(3)}, "shape \\(batch, state\\)"),
        ({"y0": torch.full((1, 1), float("nan"))}, "Drop or repair"),
        ({"solver": "dopri55"}, "dopri5"),
        ({"gradient": "magic"}, "adjoint"),
        ({"checkpoints": 3}, "Leave it out"),
        ({"field": lambda t, y: y[:, :0]}, "The field returned shape"),
        ({"gradient": "adjoint"}, "backprop"),
        ({"field": lambda t, y: y**2, "ts": torch.tensor([0.0, 5.0])}, "shorten `ts`"),
    ],
)
def test_bad_input_names_the_mending_call(change, fix):
    call = {"field": lambda t, y: -y, "y0": torch.ones(1, 1), "ts": torch.tensor([0.0, 1.0])} | change
    with pytest.raises(SolverError, match=fix):
        ode.solve(call.pop("field"), call.pop("y0"), call.pop("ts"), **call)
