import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scnode.data import Neighbors
from scnode.data._pseudotime import pseudotime_tangents
from scnode.metrics import cosine


def test_tangents_of_a_helix():
    rng = np.random.default_rng(0)
    time = rng.uniform(size=3000)
    angle = 2 * np.pi * time
    states = np.stack([np.cos(angle), np.sin(angle), time], axis=1) + rng.normal(0, 0.01, (3000, 3))
    true = np.stack([-2 * np.pi * np.sin(angle), 2 * np.pi * np.cos(angle), np.ones(3000)], axis=1)
    found, se = pseudotime_tangents(states, time, Neighbors.of(states, k=60))
    inside = (time > 0.03) & (time < 0.97)
    assert cosine(found, true)[inside].min() > 0.97
    error = np.linalg.norm(found - true, axis=1)[inside]
    # Selection by position flattens slopes a little; the standard error must still be of the error's size.
    assert 0.1 < np.median(error) / np.median(se[inside]) < 10
    noisy = states + rng.normal(0, 0.05, states.shape)
    assert np.median(pseudotime_tangents(noisy, time, Neighbors.of(noisy, k=60))[1]) > np.median(se)


def test_before_a_branching_point_the_tangent_is_the_mean_of_both_branches():
    rng = np.random.default_rng(1)
    time = rng.uniform(-1, 1, 4000)
    sign = rng.choice([-1.0, 1.0], 4000)
    states = np.stack([time, np.where(time > 0, sign * time, 0)], axis=1) + rng.normal(0, 0.02, (4000, 2))
    found, _ = pseudotime_tangents(states, time, Neighbors.of(states, k=150))
    trunk, upper = time < -0.2, (time > 0.3) & (sign > 0)
    assert cosine(found[trunk], np.tile([1.0, 0.0], (trunk.sum(), 1))).mean() > 0.97
    assert cosine(found[upper], np.tile([1.0, 1.0], (upper.sum(), 1))).mean() > 0.97


@pytest.fixture(scope="module")
def line():
    """Cells on a straight line in three dimensions, with their times and the speed."""
    time, speed = np.random.default_rng(0).uniform(size=2000), np.array([2.0, -1.0, 0.5])
    return time, time[:, None] * speed, speed


def test_a_straight_line_has_its_exact_slope(line):
    time, states, speed = line
    found, se = pseudotime_tangents(states, time, Neighbors.of(states, k=20))
    np.testing.assert_allclose(found, np.tile(speed, (2000, 1)), rtol=1e-6)
    np.testing.assert_allclose(se, 1e-3 * np.linalg.norm(speed), rtol=1e-6)


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_the_standard_error_is_that_of_the_slope(line, noise):
    """Noise across the line, which does not change who is whose neighbour."""
    time, states, speed = line
    near = Neighbors.of(states, k=40)
    noisy = states + np.random.default_rng(1).normal(0, noise, states.shape)
    found, se = pseudotime_tangents(noisy, time, near)
    error = np.linalg.norm(found - speed, axis=1)
    assert 0.8 < np.sqrt(np.mean((error / se) ** 2)) < 1.1
    assert (error < 2 * se).mean() > 0.95


def test_a_neighbourhood_of_one_time_has_a_small_slope_of_large_error():
    rng = np.random.default_rng(0)
    states, time = rng.normal(size=(300, 2)), np.repeat([0.0, 1.0], 150)
    states[150:] += 50
    found, se = pseudotime_tangents(states, time, Neighbors.of(states, k=20))
    assert np.isfinite(found).all()
    assert (np.linalg.norm(found, axis=1) < se).all()


@settings(deadline=None, max_examples=15)
@given(angle=st.floats(0, 6.3), shift=st.floats(-5, 5), pace=st.floats(0.1, 10), seed=st.integers(0, 3))
def test_turns_with_the_space_and_scales_with_the_time(angle, shift, pace, seed):
    rng = np.random.default_rng(seed)
    states, time = rng.normal(size=(60, 2)), rng.uniform(size=60)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    near = Neighbors.of(states, k=15)
    found, se = pseudotime_tangents(states, time, near)
    turned, turned_se = pseudotime_tangents(states @ turn + shift, pace * time + shift, near)
    np.testing.assert_allclose(turned, found @ turn / pace, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(turned_se, se / pace, rtol=1e-6)


def test_near_cells_count_for_more_than_far_ones():
    """Two neighbours, one unit of time before and after the cell: the nearer one pulls the slope more."""
    near = Neighbors(np.tile([0, 1, 2], (3, 1)), np.tile([0.0, 0.1, 1.0], (3, 1)))
    time, states = np.array([0.0, 1.0, -1.0]), np.array([[0.0], [1.0], [-1.0]])
    plain, pulled_near, pulled_far = (
        pseudotime_tangents(states + bump, time, near)[0][0, 0]
        for bump in np.vstack([np.zeros(3), 0.5 * np.eye(3)[1:]])[..., None]
    )
    assert abs(pulled_near - plain) > 1.5 * abs(pulled_far - plain) > 0
