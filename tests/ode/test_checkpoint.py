"""Checkpoints: the same gradient from few states, and memory that hardly grows."""

import pytest
import torch

from scnode import ode
from scnode.ode._report import peak_bytes

DOUBLE = torch.float64


class Wide(torch.nn.Module):
    """A network whose activations are many times the state."""

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.first = torch.nn.Parameter(torch.randn(4, 128, generator=rng) / 2)
        self.second = torch.nn.Parameter(torch.randn(128, 4, generator=rng) / 12)

    def forward(self, t, y):
        return torch.tanh(y @ self.first) @ self.second


def gradient(field, n, **options):
    y0 = torch.ones(16, 4)
    ts = torch.tensor([0.0, 1.0])
    ys = ode.solve(field, y0, ts, solver="rk4", step=1 / n, **options).ys
    return torch.autograd.grad(ys[:, -1].square().sum(), list(field.parameters()))


@pytest.mark.parametrize("checkpoints", [None, 1, 2, 7, 1000])
def test_any_number_of_checkpoints_gives_the_same_gradient(checkpoints):
    field = Wide()
    expected = gradient(field, 50, gradient="backprop")
    found = gradient(field, 50, gradient="checkpointed", checkpoints=checkpoints)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_memory_grows_with_the_root_of_the_number_of_steps():
    """Ten times the steps: backprop takes ten times the memory, checkpoints about the root of ten times."""
    field, cpu = Wide(), torch.device("cpu")
    kept, few = (
        [peak_bytes(lambda n=n, g=g: gradient(field, n, gradient=g), cpu) for n in (100, 1000)]
        for g in ("backprop", "checkpointed")
    )
    assert kept[1] > 9 * kept[0]
    assert few[1] < 4 * few[0]
    assert few[1] < 0.02 * kept[1]


@pytest.mark.parametrize("solver", ["tsit5", "rodas5p", "auto"])
def test_checkpoints_of_adaptive_solves(network, solver):
    y0 = torch.linspace(-1, 1, 15, dtype=DOUBLE).reshape(5, 3).requires_grad_()
    ts = torch.linspace(0, 3, 4, dtype=DOUBLE)

    def grads(**options):
        ys = ode.solve(network, y0, ts, solver=solver, rtol=1e-7, atol=1e-9, **options).ys
        return torch.autograd.grad(ys.square().sum(), [y0, *network.parameters()])

    expected = grads(gradient="backprop")
    for checkpoints in (1, 3):
        found = grads(gradient="checkpointed", checkpoints=checkpoints)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_cells_that_change_their_method_keep_their_gradient():
    """Hand-over to the implicit method and back lies within one stretch of the tape."""
    rate = torch.tensor([1e4], dtype=DOUBLE, requires_grad=True)

    def fading(t, y):
        return -(rate * torch.exp(-4 * t) + 1) * (y - torch.cos(5 * t))

    y0 = torch.tensor([[0.0], [0.5]], dtype=DOUBLE, requires_grad=True)
    ts = torch.tensor([0.0, 1.0, 6.0], dtype=DOUBLE)

    def grads(gradient, **options):
        solution = ode.solve(fading, y0, ts, gradient=gradient, rtol=1e-4, atol=1e-6, **options)
        assert (solution.stats.n_switches > 0).all()
        return torch.autograd.grad(solution.ys.square().sum(), [y0, rate])

    expected = grads("backprop")
    for found in (grads("checkpointed"), grads("checkpointed", checkpoints=1), grads("forward")):
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)
