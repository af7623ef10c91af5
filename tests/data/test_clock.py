import numpy as np
import pytest
from scipy.stats import spearmanr

from scnode.data import Neighbors, find_winding, velocity_clock


def test_clock_of_a_gradient_flow_follows_its_potential():
    points = np.random.default_rng(0).uniform(-1, 1, (1500, 2))
    potential = points[:, 0] + points[:, 1] ** 2
    velocity = np.stack([np.ones(1500), 2 * points[:, 1]], axis=1)
    clock = velocity_clock(points, velocity, Neighbors.of(points, k=15))
    assert clock.min() == 0
    assert clock.max() == 1
    assert spearmanr(clock, potential).statistic > 0.97


def test_a_rotation_has_no_clock_but_a_finite_answer():
    points = np.random.default_rng(0).normal(size=(500, 2))
    clock = velocity_clock(points, np.stack([-points[:, 1], points[:, 0]], axis=1), Neighbors.of(points, k=15))
    assert np.isfinite(clock).all()
    still = velocity_clock(points, np.zeros_like(points), Neighbors.of(points, k=15))
    np.testing.assert_array_equal(still, 0)


@pytest.mark.parametrize("path", ["line", "y"])
def test_paths_do_not_wind(path):
    points, velocity = {"line": line, "y": y_shape}[path](np.random.default_rng(0))
    winding = find_winding(points, velocity, Neighbors.of(points, k=30))
    assert winding.potential > 0.9
    assert winding.winding < 0.05
    assert not winding.is_cycle


def line(rng):
    along = rng.uniform(size=500)
    points = np.stack([along, 0.01 * rng.normal(size=500), 0.01 * rng.normal(size=500)], axis=1)
    return points, np.tile([1.0, 0.0, 0.0], (500, 1))


def y_shape(rng):
    along, arm = rng.uniform(size=600), rng.choice([-1.0, 1.0], 600)
    aside = np.maximum(along - 0.5, 0) * arm
    points = np.stack([along, aside], axis=1) + 0.01 * rng.normal(size=(600, 2))
    return points, np.stack([np.ones(600), np.where(along > 0.5, arm, 0.0)], axis=1)
