from decimal import Decimal, localcontext

import pytest
import torch

from scnode import SolverError, ode


class Lorenz:
    def __call__(self, t, y):
        a, b, c = y.unbind(1)
        return torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], dim=1)

    def jacobian(self, t, y):
        a, b, c = y.unbind(1)
        one, none = torch.ones_like(a), torch.zeros_like(a)
        rows = [[-10 * one, 10 * one, none], [28 - c, -one, -a], [b, a, -8 / 3 * one]]
        return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def shear(t, y):
    return torch.stack([y[:, 0] + 5 * y[:, 1], -2 * y[:, 1]], dim=1)


def shear_exponents(horizon):
    """Logs of the singular values of the triangular flow map, by its Frobenius norm and determinant."""
    with localcontext(prec=60):
        grown, shrunk = (Decimal(rate * horizon).exp() for rate in (1, -2))
        total = grown**2 + shrunk**2 + (Decimal(5) / 3 * (grown - shrunk)) ** 2
        largest = float(((total + (total**2 - 4 * (grown * shrunk) ** 2).sqrt()) / 2).ln()) / 2
    return [largest / abs(horizon), (-horizon - largest) / abs(horizon)]


@pytest.mark.parametrize("horizon", [0.3, 3.0, 40.0, -2.0, -15.0])
def test_a_shear_has_its_closed_form_at_every_horizon(horizon):
    """At 40 the singular values span 120 e-folds, 52 decimal digits."""
    expected = torch.tensor(shear_exponents(horizon), dtype=torch.float64)
    y = torch.tensor([[0.3, 0.1]], dtype=torch.float64)
    exponents = ode.ftle(shear, 1e-3 * y, horizon, rtol=1e-5, spectrum=True, on_failure="return")
    torch.testing.assert_close(exponents[0], expected, rtol=0, atol=2e-4)
    largest = ode.ftle(shear, 1e-3 * y, horizon, rtol=1e-5)
    torch.testing.assert_close(largest[0], expected[0], rtol=0, atol=2e-4)


def test_contraction_far_below_the_tolerance_is_resolved():
    rates = torch.tensor([-3.0, -4.0])
    exponents = ode.ftle(lambda t, y: rates * y, torch.ones(2, 2), 20.0, spectrum=True)
    torch.testing.assert_close(exponents, rates.expand(2, 2), rtol=1e-3, atol=0)
    torch.testing.assert_close(
        ode.ftle(lambda t, y: rates * y, torch.ones(2, 2), 20.0), rates[:1].expand(2), rtol=1e-3, atol=0
    )


def test_a_rotation_stretches_nothing():
    exponents = ode.ftle(
        lambda t, y: torch.stack([-y[:, 1], y[:, 0]], dim=1), torch.ones(1, 2, dtype=torch.float64), 7.0, spectrum=True
    )
    assert exponents.abs().max() < 1e-4


def test_horizons_may_differ_by_state_and_time_may_matter():
    y = torch.ones(2, 1, dtype=torch.float64)
    horizon = torch.tensor([1.0, 2.0], dtype=torch.float64)
    exponents = ode.ftle(lambda t, y: t * y, y, horizon, t=1.0, rtol=1e-7)
    expected = torch.tensor([1.5, 2.0], dtype=torch.float64)
    torch.testing.assert_close(exponents, expected, rtol=1e-5, atol=0)


def test_lorenz_has_its_known_spectrum():
    """0.906, 0 and -14.572 in the limit; the sum is the divergence -41/3 at any horizon."""
    y = torch.randn(24, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 5 + 20
    y = ode.solve(Lorenz(), y, torch.tensor([0.0, 5.0], dtype=torch.float64)).ys[:, -1]
    exponents = ode.ftle(Lorenz(), y, 12.0, spectrum=True)
    torch.testing.assert_close(exponents.sum(1), torch.full((24,), -41 / 3, dtype=torch.float64), rtol=1e-3, atol=0)
    assert exponents[:, 0].mean().item() == pytest.approx(0.906, abs=0.15)
    assert exponents[:, 1].mean().item() == pytest.approx(0, abs=0.15)
    assert exponents[:, 2].mean().item() == pytest.approx(-14.572, abs=0.15)


@pytest.mark.parametrize("horizon", [1.5, -1.5])
def test_it_is_the_stretching_of_the_flow_of_a_network(horizon):
    """Against finite differences of the flow, in single precision and over several chunks of rows."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4)).double()
    y = torch.randn(5, 4, dtype=torch.float64)
    ts = torch.tensor([0.0, horizon], dtype=torch.float64)
    away = 1e-5 * torch.eye(4, dtype=torch.float64)
    with torch.no_grad():
        up, down = (
            ode.solve(lambda t, y: net(y), (y[:, None] + s * away).flatten(0, 1), ts, rtol=1e-10, atol=1e-12).ys[:, -1]
            for s in (1, -1)
        )
    flow = ((up - down) / 2e-5).unflatten(0, (5, 4)).mT
    expected = torch.linalg.svdvals(flow).log() / abs(horizon)
    exponents = ode.ftle(lambda t, y: net(y), y, horizon, rtol=1e-7, atol=1e-9, spectrum=True)
    torch.testing.assert_close(exponents, expected, rtol=0, atol=1e-4)
    net.float()
    largest = ode.ftle(lambda t, y: net(y), y.float().repeat(2000, 1), horizon)
    torch.testing.assert_close(largest, expected[:, 0].float().repeat(2000), rtol=0, atol=2e-3)


def test_a_saddle_s_ridge_and_the_caller_s_jacobian():
    """y' = (x - x^3, -y): neighbours of x = 0 part, those in the wells approach."""
    y = torch.tensor([[0.0, 0.5], [1.0, 0.5]], dtype=torch.float64)

    def field(t, y):
        return torch.stack([y[:, 0] - y[:, 0] ** 3, -y[:, 1]], dim=1).detach()

    def jacobian(t, y):
        return torch.diag_embed(torch.stack([1 - 3 * y[:, 0] ** 2, -torch.ones_like(y[:, 1])], dim=1))

    exponents = ode.ftle(field, y, 2.0, rtol=1e-7, jacobian=jacobian)
    torch.testing.assert_close(exponents, torch.tensor([1.0, -1.0], dtype=torch.float64), rtol=0, atol=1e-5)


def test_runaway_trajectories_are_raised_or_returned_as_nan():
    y = torch.tensor([[0.1], [0.9], [2.0]], dtype=torch.float64)
    with pytest.raises(SolverError):
        ode.ftle(lambda t, y: -y + y**3, y, 2.0)
    for spectrum in (False, True):
        exponents = ode.ftle(lambda t, y: -y + y**3, y, 2.0, on_failure="return", spectrum=spectrum)
        assert exponents.isnan().flatten().tolist() == [False, False, True]
        assert ode.ftle(lambda t, y: -y + y**3, y[2:], 2.0, on_failure="return", spectrum=spectrum).isnan().all()
        assert exponents.shape == ((3, 1) if spectrum else (3,))


@pytest.mark.parametrize("horizon", [0.0, float("nan"), torch.ones(2), torch.tensor([1.0, 0.5, -1.0])])
def test_bad_horizons_name_the_mending_call(horizon):
    with pytest.raises(SolverError, match="pass one number other than 0"):
        ode.ftle(lambda t, y: -y, torch.ones(3, 1), horizon)


@pytest.mark.parametrize("spectrum", [False, True])
def test_within_given_directions_only_their_growth_counts(spectrum):
    rates = torch.tensor([2.0, -1.0, -3.0], dtype=torch.float64)
    y = torch.ones(2, 3, dtype=torch.float64)
    plane = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 0.5]], dtype=torch.float64).expand(2, 3, 2)
    found = ode.ftle(lambda t, y: rates * y, y, 1.5, directions=plane, spectrum=spectrum)
    expected = rates[1:].expand(2, 2) if spectrum else rates[1].expand(2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (1, 3, 1), (2, 3, 0)])
def test_directions_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(SolverError, match="directions has shape"):
        ode.ftle(lambda t, y: -y, torch.ones(2, 3), 1.0, directions=torch.ones(shape))


def test_directions_that_are_not_independent_are_refused():
    with pytest.raises(SolverError, match="not independent"):
        ode.ftle(lambda t, y: -y, torch.ones(2, 3), 1.0, directions=torch.ones(2, 3, 2))


@pytest.mark.parametrize("horizon", [0.7, -0.7])
def test_across_the_flow_a_linear_field_has_its_closed_form(horizon):
    """Running ahead on the unstable axis is no parting: there the stable rate is left."""
    rates = torch.tensor([2.0, -1.0], dtype=torch.float64)
    y = torch.tensor([[0.5, 0.0], [0.0, 0.5], [0.3, -0.8], [0.0, 0.0]], dtype=torch.float64)
    grown = (rates * horizon).exp()
    found = ode.ftle(lambda t, y: rates * y, y, horizon, rtol=1e-9, atol=1e-11, across=True)
    flow = rates * y * grown
    normal = torch.stack([-flow[:, 1], flow[:, 0]], dim=1)[:3] / flow[:3].norm(dim=1, keepdim=True)
    expected = torch.cat([(normal * grown).norm(dim=1), grown.max().reshape(1)]).log() / abs(horizon)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    turn = 1.0 if horizon > 0 else -1.0
    torch.testing.assert_close(found[:2], turn * torch.tensor([-1.0, 2.0], dtype=torch.float64), rtol=0, atol=1e-6)


def test_across_the_flow_there_is_no_spectrum():
    with pytest.raises(SolverError, match="one of the two"):
        ode.ftle(shear, torch.ones(1, 2), 1.0, spectrum=True, across=True)
