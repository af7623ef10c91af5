"""Observed orders: strong ones along shared paths, weak ones with the exact solution as control variate."""

import math

import pytest
import torch

from scnode import SolverError, ode

MU, SIGMA = 0.7, 0.6
STEPS = (8, 16, 32, 64)
STRONG = {"euler_maruyama": 0.5, "implicit_euler": 0.5, "srk2": 1.5}
WEAK = {"euler_maruyama": 1.0, "implicit_euler": 1.0, "srk2": 2.0}
UNIT = torch.tensor([0.0, 1.0], dtype=torch.float64)


def slope(errors):
    """Order by least squares over the ladder of steps."""
    x = torch.tensor([math.log(1 / n) for n in STEPS], dtype=torch.float64)
    y = torch.tensor([math.log(abs(float(e))) for e in errors], dtype=torch.float64)
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


@pytest.fixture(scope="module")
def path():
    return ode.BrownianPath(10_000, 1, generator=torch.Generator().manual_seed(7))


def ends(drift, diffusion, path, solver, start=1.0):
    y0 = torch.full((path.shape[0], 1), start, dtype=torch.float64)
    for n in STEPS:
        yield ode.solve_sde(drift, diffusion, y0, UNIT, step=1 / n, solver=solver, brownian=path).ys[:, 0, -1]


@pytest.mark.parametrize("solver", STRONG)
def test_orders_on_geometric_brownian_motion(path, solver):
    exact = torch.exp(MU - SIGMA**2 / 2 + SIGMA * path.increment(0.0, 1.0).change)
    found = list(ends(lambda t, y: MU * y, lambda t, y: SIGMA * y, path, solver))
    strong = slope([(y - exact).abs().mean() for y in found])
    assert strong == pytest.approx(STRONG[solver], abs=0.15)
    weak = slope([(y.square() - exact.square()).mean() for y in found])
    assert weak == pytest.approx(WEAK[solver], abs=0.3)


@pytest.mark.parametrize(("solver", "order"), [("euler_maruyama", 1.0), ("implicit_euler", 1.0), ("srk2", 1.5)])
def test_additive_noise_raises_the_strong_order(solver, order):
    """dy = -sin(y) dt + dW/2, against a solution with steps that are 8 times finer than the finest."""
    path = ode.BrownianPath(2000, 1, generator=torch.Generator().manual_seed(2))
    fine = ode.solve_sde(
        lambda t, y: -y.sin(),
        lambda t, y: 0.5 * torch.ones_like(y),
        torch.ones(path.shape[0], 1, dtype=torch.float64),
        UNIT,
        step=1 / 512,
        brownian=path,
    ).ys[:, 0, -1]
    found = ends(lambda t, y: -y.sin(), lambda t, y: 0.5 * torch.ones_like(y), path, solver)
    assert slope([(y - fine).abs().mean() for y in found]) > order - 0.15


def test_mixed_noise_costs_the_order_that_the_documentation_says():
    """dy1 = exp(y2) dW1, dy2 = dW2: the area between both noises is in no scheme, so the strong order is 1/2."""
    path = ode.BrownianPath(2000, 2, generator=torch.Generator().manual_seed(3))

    def diffusion(t, y):
        return torch.stack([y[:, 1].exp(), torch.ones_like(y[:, 1])], dim=1)

    y0 = torch.zeros(2000, 2, dtype=torch.float64)
    options = {"solver": "srk2", "brownian": path}
    fine = ode.solve_sde(lambda t, y: 0 * y, diffusion, y0, UNIT, step=1 / 512, **options).ys[:, 0, -1]
    found = [ode.solve_sde(lambda t, y: 0 * y, diffusion, y0, UNIT, step=1 / n, **options).ys[:, 0, -1] for n in STEPS]
    assert slope([(y - fine).abs().mean() for y in found]) == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize(("solver", "twin"), [("euler_maruyama", "euler"), ("srk2", "ralston")])
@pytest.mark.parametrize("diffusion", [None, lambda t, y: 0 * y], ids=["none", "zero"])
def test_without_noise_it_is_the_deterministic_method_bit_for_bit(network, solver, twin, diffusion):
    y0 = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for ts in (torch.linspace(0, 2, 5).double(), torch.tensor([[0.0, 0.3 * i + 0.1, 2.0] for i in range(5)]).double()):
        with torch.no_grad():
            found = ode.solve_sde(network, diffusion, y0, ts, step=0.11, solver=solver).ys[:, 0]
            assert torch.equal(found, ode.solve(network, y0, ts, solver=twin, step=0.11).ys)


def test_an_implicit_step_survives_where_explicit_ones_overflow(linear):
    """A rate of 1000 at steps of 0.01, with the slow one still right."""
    field = linear([1.0, 1000.0])
    y0 = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    found = ode.solve_sde(field, None, y0, UNIT, step=0.01, solver="implicit_euler").ys[:, 0, -1]
    torch.testing.assert_close(found, field.exact(y0, UNIT)[:, -1], atol=5e-3, rtol=0)
    with pytest.raises(SolverError, match="implicit_euler"):
        ode.solve_sde(field, None, y0, 200 * UNIT, step=0.1)


def test_a_matrix_diffusion_correlates_the_states():
    root = torch.tensor([[1.0, 0.0, 0.5], [0.6, 0.8, 0.0]], dtype=torch.float64)
    y0 = torch.zeros(1, 2, dtype=torch.float64)
    options = {"solver": "euler_maruyama", "n_samples": 40_000, "step": 0.5}
    found = ode.solve_sde(lambda t, y: 0 * y, lambda t, y: root.expand(len(y), -1, -1), y0, UNIT, **options)
    torch.testing.assert_close(found.ys[0, :, -1].T.cov(), root @ root.T, atol=0.03, rtol=0)
