import math

import pytest
import torch
from scipy.integrate import solve_ivp

from scnode import SolverError, ode


def hopf(t, y):
    turn = torch.stack([-y[:, 1], y[:, 0]], dim=1)
    return y * (1 - y.square().sum(1, keepdim=True)) + 2 * turn


def van_der_pol(t, y, stiffness=2.0):
    x, v = y.unbind(1)
    return torch.stack([v, stiffness * (1 - x**2) * v - x], dim=1)


def starts(*states):
    return torch.tensor(states, dtype=torch.float64)


def test_hopf_has_the_unit_circle_and_its_period():
    found = ode.limit_cycles(hopf, starts((0.1, 0.0), (2.0, 1.0), (0.0, -0.3)), 10.0)
    assert found.period.tolist() == pytest.approx([math.pi], rel=1e-4)
    assert found.which.tolist() == [0, 0, 0]
    torch.testing.assert_close(found.orbit.norm(dim=2), torch.ones(1, 200, dtype=torch.float64), rtol=0, atol=1e-3)


def test_the_period_of_van_der_pol_is_that_of_scipy():
    events = {"fun": lambda t, y: van_der_pol(t, torch.as_tensor(y)[None])[0].numpy()}

    def crossing(t, y):
        return y[0]

    crossing.direction = 1
    reference = solve_ivp(events["fun"], (0, 80), [2.0, 0.0], events=crossing, rtol=1e-10, atol=1e-12)
    expected = (reference.t_events[0][-1] - reference.t_events[0][3]) / (len(reference.t_events[0]) - 4)
    found = ode.limit_cycles(van_der_pol, starts((0.5, 0.0), (3.0, 1.0)), 40.0)
    assert found.period.tolist() == pytest.approx([expected], rel=1e-3)


@pytest.mark.parametrize("damping", [0.02, 0.2, 2.0])
def test_a_spiral_into_rest_is_no_cycle(damping):
    found = ode.limit_cycles(
        lambda t, y: torch.stack([y[:, 1], -y[:, 0] - damping * y[:, 1]], dim=1), starts((1.0, 0.0), (2.0, 0.0)), 60.0
    )
    assert len(found.period) == 0
    assert found.which.tolist() == [-1, -1]


def test_two_cycles_are_told_apart_and_the_wider_basin_comes_first():
    def two(t, y):
        """Radii 1 and 3 attract, 2 repels."""
        r = y.norm(dim=1, keepdim=True)
        turn = torch.stack([-y[:, 1], y[:, 0]], dim=1)
        return -y * (r - 1) * (r - 2) * (r - 3) / r + turn

    found = ode.limit_cycles(two, starts((0.5, 0.0), (2.5, 0.0), (0.0, 3.5)), 30.0)
    assert found.which.tolist() == [1, 0, 0]
    assert found.orbit.norm(dim=2).mean(1).tolist() == pytest.approx([3.0, 1.0], rel=1e-2)
    assert found.period.tolist() == pytest.approx([2 * math.pi] * 2, rel=1e-3)


def test_a_trajectory_that_leaves_belongs_to_none():
    found = ode.limit_cycles(lambda t, y: y**3 + y, starts((1.0, 1.0)), 10.0)
    assert found.which.tolist() == [-1]


@pytest.mark.parametrize(
    ("state", "horizon", "message"), [((1.0, 0.0), 0.0, "must be positive"), ((math.nan, 0.0), 1.0, "finite floats")]
)
def test_bad_input(state, horizon, message):
    with pytest.raises(SolverError, match=message):
        ode.limit_cycles(hopf, starts(state), horizon)
