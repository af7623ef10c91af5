import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from scipy.spatial.distance import cdist

from scnode import ScnodeError
from scnode.data import Neighbors, Space, _coupling, read_snapshots
from scnode.data._coupling import Transport, couple
from scnode.data._growth import (
    _unbalanced_plan,
    descendants_of,
    learn_descendants,
    learned_growth,
    read_growth,
    relative_mass,
)
from scnode.data._time_course import time_course_evidence

ot = pytest.importorskip("ot")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def lanes(rng, n, upper, *, shift=0.0, dimension=3):
    """Cells on two lanes, the first `upper` of them on the upper one."""
    states = rng.normal(0, 0.1, (n, dimension))
    states[:, 0] += rng.uniform(size=n) + shift
    states[:, 1] += np.where(np.arange(n) < upper, 1.0, -1.0)
    return states


def test_an_unbalanced_plan_meets_the_conditions_of_its_optimum(rng):
    x, y, mass = rng.normal(size=(30, 2)), rng.normal(size=(40, 2)) + 1, rng.exponential(size=30)
    mass /= mass.sum()
    cost = cdist(x, y, "sqeuclidean")
    plan = _unbalanced_plan(cost, x, y, mass)
    np.testing.assert_allclose(plan.sum(0), 1 / 40, rtol=1e-6)
    best = ot.emd2(mass, np.full(40, 1 / 40), cost)
    gain = (mass @ cost).mean() - best
    # The derivative to each entry is the multiplier of its column, whatever the row.
    slope = cost + 0.05 * gain * np.log(plan * 40 / mass[:, None]) + 0.25 * gain * np.log(plan.sum(1) / mass)[:, None]
    np.testing.assert_allclose(slope, np.tile(slope[0], (30, 1)), atol=1e-5 * gain)


def test_cells_that_multiply_are_told_from_cells_that_cross(rng):
    earlier, later = lanes(rng, 200, 100), lanes(rng, 200, 160, shift=1.0)
    number = learn_descendants(earlier, later, np.ones(200), rng=rng)
    np.testing.assert_allclose(number.mean(), 1)
    np.testing.assert_allclose([number[:100].mean(), number[100:].mean()], [1.6, 0.4], atol=0.05)
    plan = couple(earlier, later, rng=rng, mass=number)
    even = couple(earlier, later, rng=rng)
    crossed = [p[:100, 160:].sum() + p[100:, :160].sum() for p in (plan, even)]
    assert crossed[0] < 0.02
    assert crossed[1] > 0.29


@pytest.mark.parametrize("shift", [0.0, 1.0, 5.0])
def test_motion_of_all_cells_is_no_growth(rng, shift):
    number = learn_descendants(lanes(rng, 200, 100), lanes(rng, 200, 100, shift=shift), np.ones(200), rng=rng)
    assert np.log(number).std() < 0.06


def test_expected_numbers_are_corrected(rng):
    """Where the cells say what the expectation does there is nothing to learn; else they win."""
    earlier, later = lanes(rng, 200, 100), lanes(rng, 200, 160, shift=1.0)
    for upper in (1.6, 1.0, 0.4):
        mass = np.repeat([upper, 2 - upper], 100)
        number = learn_descendants(earlier, later, mass, rng=rng)
        np.testing.assert_allclose(number[:100].mean(), 1.6, atol=0.1)


def test_large_clouds_are_learned_from_in_parts(rng, monkeypatch):
    monkeypatch.setattr(_coupling, "_LARGEST", 100)
    earlier, later = lanes(rng, 200, 100), lanes(rng, 300, 240, shift=1.0)
    number = learn_descendants(earlier, later, np.ones(200), rng=rng)
    np.testing.assert_allclose([number[:100].mean(), number[100:].mean()], [1.6, 0.4], atol=0.2)


def test_a_plan_of_given_masses_is_exact(rng):
    x, y, mass = rng.normal(size=(30, 2)), rng.normal(size=(20, 2)), rng.exponential(size=30)
    plan = couple(x, y, rng=rng, mass=mass)
    np.testing.assert_allclose(np.asarray(plan.sum(1)).ravel(), mass / mass.sum())
    np.testing.assert_allclose(np.asarray(plan.sum(0)).ravel(), 1 / 20)
    cost = cdist(x, y, "sqeuclidean")
    np.testing.assert_allclose((plan.toarray() * cost).sum(), ot.emd2(mass / mass.sum(), np.full(20, 1 / 20), cost))


def test_rows_of_a_given_plan_count_descendants():
    source = np.repeat([[0.0], [9.0]], 40, axis=0)
    plan = sp.csr_matrix(np.repeat([[3.0], [1.0]], 40, axis=0))
    np.testing.assert_allclose(descendants_of(plan, source), np.repeat([1.5, 0.5], 40))
    np.testing.assert_array_equal(descendants_of(0 * plan, source), 1)


def test_a_rate_is_that_of_the_next_time_or_of_the_origins():
    plan = sp.csr_matrix([[1.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
    step = Transport(np.array([0, 1]), np.array([2, 3, 4]), 0.5, plan, descendants=np.array([2.0, 0.5]))
    fast, slow = np.log([2.0, 0.5]) / 0.5
    np.testing.assert_allclose(learned_growth(6, [step]), [fast, slow, (fast + slow) / 2, slow, 0, 0])


def cells(**columns):
    days = np.repeat([0.0, 1.0, 4.0], 4)
    return AnnData(obs=pd.DataFrame({"day": days, **columns}, index=[f"c{i}" for i in range(12)]))


def test_rates_are_read_in_the_unit_of_the_days():
    rate = np.linspace(-1, 1, 12)
    adata = cells(rate=rate)
    np.testing.assert_allclose(read_growth(adata, "rate", read_snapshots(adata, "day")), 4 * rate)
    np.testing.assert_allclose(relative_mass(np.array([0.0, np.log(4)]), 0.5), [0.5, 1])


@pytest.mark.parametrize(
    ("column", "key", "fix"),
    [
        (np.linspace(0, 1, 12), "rat", r"Did you mean 'rate'\? Pass growth_key="),
        ([np.nan] + [1.0] * 11, "rate", r"NaN or infinite in 1 cells \(first: \['c0'\]\). Drop them"),
        ([0.0] * 11 + [np.inf], "rate", "NaN or infinite in 1 cells"),
        (["fast", "slow"] * 6, "rate", "is object, not numeric. Pass growth_key="),
        ([2.0] * 12, "rate", "is constant"),
        (np.linspace(0, 10, 12), "rate", r"one cell leaves 1.1e\+13 times as many descendants.*Its unit is 1/day"),
        (np.linspace(0, 1e6, 12), "rate", "rescale"),
    ],
    ids=["misspelt", "missing", "infinite", "labels", "constant", "per hour", "counts"],
)
def test_rates_that_cannot_be(column, key, fix):
    adata = cells(rate=column)
    with pytest.raises(ScnodeError, match=fix):
        read_growth(adata, key, read_snapshots(adata, "day"))


def evidence(adata, **options):
    latent = adata.obsm["X_latent"]
    space, snapshots = Space(latent, Neighbors.of(latent, k=30)), read_snapshots(adata, "day")
    options = {"coupling_key": None, "rng": np.random.default_rng(0)} | options
    return time_course_evidence(adata, snapshots, space, **options)


@pytest.fixture
def crossing(rng):
    """Two lanes on two days, two days apart, of which the upper one multiplies."""
    latent = np.concatenate([lanes(rng, 150, 75), lanes(rng, 150, 120, shift=1.0)])
    upper = np.repeat([True, False, True, False], [75, 75, 120, 30])
    obs = pd.DataFrame({"day": np.repeat([1.0, 3.0], 150), "rate": np.where(upper, np.log(4) / 2, 0.0)})
    obs.index = [f"c{i}" for i in range(300)]
    return AnnData(obs=obs, obsm={"X_latent": latent}), upper


@pytest.mark.parametrize("options", [{"growth_key": "rate"}, {"unbalanced": True}], ids=["given", "learned"])
def test_growth_takes_the_crossing_out_of_the_velocity(crossing, options):
    adata, upper = crossing
    even, grown = evidence(adata), evidence(adata, **options)
    across = [np.abs(found.velocity[:, 1]).mean() for found in (even, grown)]
    assert across[1] < 0.3 * across[0]
    np.testing.assert_allclose(np.median(grown.velocity[:, 0]), 1, atol=0.1)
    fast, slow = grown.growth[upper].mean(), grown.growth[~upper].mean()
    # A unit of the clock is two days.
    np.testing.assert_allclose(fast - slow, np.log(4), atol=0.15)
    assert even.growth is None
    assert "coupled by exact optimal transport, growth " in grown.source


def test_rows_of_given_couplings_say_how_cells_grow(crossing):
    adata, upper = crossing
    earlier = adata.obs["day"].to_numpy() == 1
    same = (upper[:, None] == upper) & earlier[:, None] & ~earlier
    adata.obsp["plan"] = sp.csr_matrix(same.astype(float))
    grown = evidence(adata, coupling_key="plan", unbalanced=True)
    np.testing.assert_allclose(grown.growth[upper].mean() - grown.growth[~upper].mean(), np.log(4), atol=0.1)
    assert evidence(adata, coupling_key="plan").growth is None
