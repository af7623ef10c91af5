import numpy as np
from scipy.stats import spearmanr

from scnode.data import Neighbors, velocity_clock


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
