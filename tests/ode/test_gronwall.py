import math

import pytest
import torch

from scnode import SolverError, ode

TIMES = torch.linspace(0, 2, 9, dtype=torch.float64)


def pendulum(t, y):
    return torch.stack([y[:, 1], -torch.sin(y[:, 0]) - 0.5 * y[:, 1]], dim=1)


@pytest.mark.parametrize("rate", [-1.5, 0.0, 0.7])
def test_linear_fields_reach_their_closed_form(rate):
    bound = ode.gronwall_bound(
        lambda t, y: rate * y, torch.ones(2, 1, dtype=torch.float64), TIMES, defect=0.1, initial_error=0.02
    )
    for values, mu in ((bound.log_norm, rate), (bound.lipschitz, abs(rate))):
        growth = torch.expm1(mu * TIMES) / mu if mu else TIMES
        torch.testing.assert_close(values, (0.02 * torch.exp(mu * TIMES) + 0.1 * growth).expand(2, -1))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_perturbed_trajectories_stay_within_the_bound(sign):
    generator = torch.Generator().manual_seed(0)
    y0 = torch.randn(20, 2, dtype=torch.float64, generator=generator)
    ts, defect, moved = sign * TIMES, 1e-3, 1e-3
    bound = ode.gronwall_bound(pendulum, y0, ts, defect=defect, initial_error=moved)
    assert bound.log_norm.shape == bound.lipschitz.shape == (20, 9)
    assert (bound.log_norm <= bound.lipschitz * (1 + 1e-9)).all()
    exact = ode.solve(pendulum, y0, ts, rtol=1e-9, atol=1e-11).ys
    reached = torch.zeros_like(bound.log_norm)
    for angle in torch.arange(8) * math.pi / 4:
        push = torch.stack([angle.cos(), angle.sin()]).double()
        other = ode.solve(
            lambda t, y, push=push: pendulum(t, y) + defect * push, y0 + sign * moved * push, ts, rtol=1e-9, atol=1e-11
        ).ys
        reached = torch.maximum(reached, (other - exact).norm(dim=2))
    assert (reached <= bound.log_norm * (1 + 1e-2)).all()
    assert (reached[:, -1] > 0.1 * bound.log_norm[:, -1]).any()


def test_a_linear_field_is_bounded_strictly_however_large_the_error():
    a = torch.tensor([[-1.0, 2.0], [0.0, -0.5]], dtype=torch.float64)
    y0 = torch.zeros(1, 2, dtype=torch.float64)
    bound = ode.gronwall_bound(lambda t, y: y @ a.T, y0, TIMES, initial_error=100.0)
    grown = 100 * torch.linalg.matrix_norm(torch.linalg.matrix_exp(TIMES[:, None, None] * a), ord=2)
    assert (grown <= bound.log_norm[0] * (1 + 1e-9)).all()


def test_contraction_shrinks_the_sharper_bound_alone():
    bound = ode.gronwall_bound(lambda t, y: -3 * y, torch.ones(1, 2, dtype=torch.float64), TIMES, initial_error=1.0)
    assert (bound.log_norm.diff(dim=1) < 0).all()
    assert (bound.lipschitz.diff(dim=1) > 0).all()


def test_a_rate_that_varies_is_bounded_from_above_and_converges():
    def field(t, y):
        return torch.cos(2 * t) * y

    y0 = torch.ones(1, 1, dtype=torch.float64)
    expected = torch.exp(torch.sin(2 * TIMES) / 2)
    over = []
    for n_between in (4, 40):
        bound = ode.gronwall_bound(field, y0, TIMES, initial_error=1.0, n_between=n_between).log_norm[0]
        assert (bound >= expected * (1 - 1e-9)).all()
        over.append((bound / expected - 1).max().item())
    assert over[1] < 0.15 * over[0]


def test_errors_times_and_rows_are_those_of_each_trajectory():
    ts = torch.stack([TIMES, 0.5 * TIMES])
    y0 = torch.ones(2, 1)
    bound = ode.gronwall_bound(
        lambda t, y: 0 * y, y0, ts.float(), defect=torch.tensor([1.0, 2.0]), initial_error=torch.tensor([0.0, 3.0])
    )
    torch.testing.assert_close(bound.log_norm, torch.stack([TIMES, 3 + TIMES]).float())
    torch.testing.assert_close(bound.lipschitz, bound.log_norm)


def test_no_error_stays_none_and_huge_growth_is_infinite_not_nan():
    ts = torch.tensor([0.0, 1.0])
    still = torch.zeros(1, 1)
    none = ode.gronwall_bound(lambda t, y: 1e5 * y, still, ts)
    assert not none.lipschitz.any()
    assert not none.log_norm.any()
    huge = ode.gronwall_bound(lambda t, y: 1e5 * y, still, ts, defect=1.0)
    assert huge.lipschitz[0, 1] == huge.log_norm[0, 1] == torch.inf


@pytest.mark.parametrize("options", [{"defect": -1.0}, {"initial_error": torch.ones(3)}, {"defect": math.inf}])
def test_bad_errors_name_the_mending_call(options):
    with pytest.raises(SolverError, match="one finite number"):
        ode.gronwall_bound(pendulum, torch.ones(2, 2), TIMES.float(), **options)
    with pytest.raises(SolverError, match="at least 1"):
        ode.gronwall_bound(pendulum, torch.ones(2, 2), TIMES.float(), n_between=0)
