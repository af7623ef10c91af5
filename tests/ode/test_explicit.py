import math

import pytest
import torch

from scnode import ode
from scnode.ode._explicit import EXPLICIT
from scnode.ode._step import Start, interpolate

ORDERS = {"euler": 1, "midpoint": 2, "ralston": 2, "rk4": 4, "dopri5": 5, "tsit5": 5}
DENSE = {"euler": 1, "midpoint": 2, "ralston": 2, "rk4": 3, "dopri5": 4, "tsit5": 4}


class Logistic:
    """y' = (1 + t) y (1 - y), neither autonomous nor linear: simpler problems hide wrong coefficients."""

    def __call__(self, s, y, rows):
        return (1 + s.reshape(-1, 1)) * y * (1 - y)

    @staticmethod
    def exact(t):
        return 1 / (1 + 3 * math.exp(-t - t**2 / 2))


def one_step(name, y, s, h):
    at = torch.tensor([s], dtype=torch.float64)
    size = torch.tensor([h], dtype=torch.float64)
    return EXPLICIT[name].step(Logistic(), Start(torch.arange(1), at, size, y))


def largest_error(name, n):
    y, largest = torch.full((1, 1), Logistic.exact(0.0), dtype=torch.float64), 0.0
    for i in range(n):
        y = one_step(name, y, i * 2 / n, 2 / n).y
        largest = max(largest, abs(y.item() - Logistic.exact((i + 1) * 2 / n)))
    return largest


@pytest.mark.parametrize("name", ORDERS)
def test_observed_order(name):
    observed = math.log2(largest_error(name, 40) / largest_error(name, 80))
    assert observed == pytest.approx(ORDERS[name], abs=0.35)
    assert EXPLICIT[name].order == ORDERS[name]


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("theta", [0.123, 0.377, 0.731])
def test_states_inside_a_step_have_their_order(name, theta):
    """One step of size h from an exact state errs by h to the power of the order plus one."""
    errors = []
    for h in (0.1, 0.05):
        y = torch.full((1, 1), Logistic.exact(0.3), dtype=torch.float64)
        step = one_step(name, y, 0.3, h)
        at = torch.tensor([theta], dtype=torch.float64)
        inside = interpolate(EXPLICIT[name], step, y, torch.tensor([0]), at)
        errors.append(abs(inside.item() - Logistic.exact(0.3 + theta * h)))
    assert math.log2(errors[0] / errors[1]) > DENSE[name] + 1 - 0.35


@pytest.mark.parametrize("name", ["dopri5", "tsit5"])
def test_dense_weights_meet_the_step_at_its_end(name):
    tableau = EXPLICIT[name].tableau
    for weight, row in zip(tableau.b, tableau.dense, strict=True):
        assert sum(row) == pytest.approx(weight, abs=1e-14)
    assert tableau.first_same_as_last


def test_the_estimate_of_stiffness_sits_at_the_stability_limit():
    """Along y' = -1000 y to a slow curve, tsit5 takes h = 3.3 to 3.5 over 1000."""
    rate = 1000.0
    one = torch.ones(1, dtype=torch.float64)
    start = Start(torch.arange(1), 0 * one, 3e-3 * one, one.unsqueeze(1))
    step = EXPLICIT["tsit5"].step(lambda s, y, rows: -rate * y, start)
    assert step.stiffness.item() == pytest.approx(3.0, rel=1e-6)


@pytest.mark.parametrize("solver", ["euler", "midpoint", "ralston", "rk4"])
def test_fixed_steps_are_cut_to_the_asked_size(turning, solver):
    ts = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    y0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    coarse = ode.solve(turning, y0, ts, solver=solver)
    fine = ode.solve(turning, y0, ts, solver=solver, step=0.01)
    assert coarse.stats.n_steps.item() == 2
    assert fine.stats.n_steps.item() == 25 + 75
    exact = turning.exact(y0, ts)
    assert (fine.ys - exact).abs().max() < 0.05 * (coarse.ys - exact).abs().max()
