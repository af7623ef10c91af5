"""Rodas5P and Radau IIA against orders, closed forms and published values."""

import math

import pytest
import torch

from scnode import ode
from scnode.ode._radau5 import Radau5
from scnode.ode._rodas5p import Rodas5P
from scnode.ode._step import Start, interpolate
from scnode.ode._system import FieldSystem

METHODS = {"rodas5p": Rodas5P(), "radau5": Radau5(1e-12, 1e-14)}


def growing(t, y):
    return y * torch.cos(2 * t) - 0.3 * (y - 1) ** 2


def reference(y0, t):
    return ode.solve(
        growing, y0, torch.tensor([0.0, t], dtype=torch.float64), solver="dopri5", rtol=1e-13, atol=1e-14
    ).ys[:, -1]


@pytest.mark.parametrize("name", METHODS)
def test_observed_order_on_a_field_that_changes_with_time(name):
    y0 = torch.full((1, 1), 1.2, dtype=torch.float64)
    errors = []
    for n in (4, 8):
        h = torch.full((1,), 1.0 / n, dtype=torch.float64)
        y = y0
        for i in range(n):
            y = METHODS[name].step(FieldSystem(growing), Start(torch.arange(1), i * h, h, y)).y
        errors.append((y - reference(y0, 1.0)).abs().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(5, abs=0.6)


@pytest.mark.parametrize(("name", "order"), [("rodas5p", 4), ("radau5", 3)])
@pytest.mark.parametrize("theta", [0.123, 0.377, 0.731])
def test_states_inside_a_step_have_their_order(name, order, theta):
    y0 = torch.full((1, 1), 1.2, dtype=torch.float64)
    errors = []
    for size in (0.2, 0.1):
        h = torch.tensor([size], dtype=torch.float64)
        step = METHODS[name].step(FieldSystem(growing), Start(torch.arange(1), 0 * h, h, y0))
        inside = interpolate(METHODS[name], step, y0, torch.tensor([0]), torch.tensor([theta], dtype=torch.float64))
        errors.append((inside - reference(y0, theta * size)).abs().item())
    assert math.log2(errors[0] / errors[1]) > order + 1 - 0.5


@pytest.mark.parametrize("solver", ["rodas5p", "radau5", "auto"])
def test_published_values_of_stiff_problems(stiff, solver):
    field, y0, end, published, scale = stiff
    tight = 1e-6 if solver == "radau5" else 1e-7
    solution = ode.solve(
        field,
        torch.tensor([y0], dtype=torch.float64),
        torch.tensor([0.0, end], dtype=torch.float64),
        solver=solver,
        rtol=tight,
        atol=tight * scale,
    )
    torch.testing.assert_close(solution.ys[0, -1], torch.tensor(published, dtype=torch.float64), rtol=1e-5, atol=0)
    assert solution.stats.n_factorisations.item() > 0


@pytest.mark.parametrize("solver", ["rodas5p", "radau5"])
def test_linear_invariants_stay_to_rounding(solver):
    """w^T S = 0: mass is conserved by every method here, since J has the same left null space."""

    def cycle(t, y):
        rates = torch.stack([2.0 * y[:, 0], 500.0 * y[:, 1] ** 2, 0.3 * y[:, 2]], dim=1)
        return rates[:, [2, 0, 1]] - rates

    y0 = torch.tensor([[1.0, 0.5, 0.0], [0.2, 0.0, 0.3]], dtype=torch.float64)
    solution = ode.solve(cycle, y0, torch.linspace(0, 5, 6, dtype=torch.float64), solver=solver, rtol=1e-5)
    torch.testing.assert_close(solution.ys.sum(-1), y0.sum(1, keepdim=True).expand(2, 6), rtol=1e-12, atol=0)


@pytest.mark.parametrize("source", ["autograd", "argument", "method"])
def test_the_jacobian_comes_from_where_it_is_given(linear, source):
    field, calls = linear([1.0, 1e4]), []

    def jacobian(t, y):
        calls.append(len(y))
        return field.matrix.expand(len(y), 2, 2)

    if source == "method":
        field.jacobian = jacobian
    y0 = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    ts = torch.tensor([0.0, 1.0], dtype=torch.float64)
    options = {"jacobian": jacobian} if source == "argument" else {}
    solution = ode.solve(field, y0, ts, solver="rodas5p", rtol=1e-6, atol=1e-9, **options)
    torch.testing.assert_close(solution.ys, field.exact(y0, ts), rtol=1e-5, atol=1e-8)
    assert bool(calls) == (source != "autograd")


def test_single_precision_states_are_solved_with_double_precision_matrices(linear):
    field = linear([1.0, 10.0, 1e5]).float()
    y0 = torch.ones(4, 3)
    ts = torch.linspace(0, 1, 3)
    solution = ode.solve(field, y0, ts, solver="rodas5p", rtol=1e-4, atol=1e-6)
    assert solution.ys.dtype == torch.float32
    exact = field.double().exact(y0.double(), ts.double())
    torch.testing.assert_close(solution.ys, exact.float(), rtol=1e-3, atol=1e-4)
