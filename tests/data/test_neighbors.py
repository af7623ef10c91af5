import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scnode.data import Neighbors, _neighbors, draw_paths, evenly, surroundings, velocity_clock
from scnode.data._pseudotime import pseudotime_tangents
from scnode.data._velocity import tangent_velocity


@settings(deadline=None, max_examples=20)
@given(n=st.integers(2, 40), k=st.integers(1, 50), seed=st.integers(0, 5))
def test_matches_brute_force(n, k, seed):
    points = np.random.default_rng(seed).normal(size=(n, 3))
    near = Neighbors.of(points, k=k)
    every = np.linalg.norm(points[:, None] - points, axis=2)
    assert near.index.shape == (n, min(k, n))
    np.testing.assert_array_equal(near.index[:, 0], np.arange(n))
    np.testing.assert_allclose(near.distance, np.sort(every, axis=1)[:, :k], atol=1e-7)


def test_a_cell_leads_its_neighbours_also_among_twins():
    near = Neighbors.of(np.zeros((6, 2)), k=4)
    np.testing.assert_array_equal(near.index[:, 0], np.arange(6))
    np.testing.assert_allclose(near.first(2).mean(np.arange(6.0)), near.index[:, :2].mean(1))


@settings(deadline=None, max_examples=20)
@given(copies=st.integers(2, 12), k=st.integers(1, 12), d=st.sampled_from([2, 20]), seed=st.integers(0, 5))
def test_no_cell_is_its_own_second_neighbour(copies, k, d, seed):
    """Twins take each other's places; none is lost and none comes twice."""
    points = np.repeat(np.random.default_rng(seed).normal(size=(5, d)), copies, axis=0)
    near = Neighbors.of(points, k=k)
    np.testing.assert_array_equal(near.index[:, 0], np.arange(len(points)))
    assert all(len(set(row)) == len(row) for row in near.index)
    every = np.linalg.norm(points[near.index] - points[:, None], axis=2)
    np.testing.assert_allclose(near.distance, every, atol=1e-6)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("still", [False, True])
def test_neighbourhoods_of_twins_alone_make_nothing_infinite(still):
    rng = np.random.default_rng(0)
    points = np.repeat(rng.normal(size=(3, 2)), 40, axis=0)
    velocity = np.zeros((120, 2)) if still else rng.normal(size=(120, 2))
    near = Neighbors.of(points, k=30)
    answers = [
        *draw_paths(points, velocity, near, n_steps=2, rng=rng),
        *surroundings(points, velocity, rng=rng),
        *pseudotime_tangents(points, rng.uniform(size=120), near),
        *tangent_velocity(points, velocity, near),
        velocity_clock(points, velocity, near),
    ]
    assert all(np.isfinite(answer).all() for answer in answers)


def test_of_many_cells_wide_neighbourhoods_are_the_nearest_of_some(monkeypatch):
    monkeypatch.setattr(_neighbors, "MOST_SEARCHED", 200)
    points = np.random.default_rng(0).normal(size=(1000, 3))
    near = Neighbors.of(points, k=40)
    some = evenly(1000, 200)
    np.testing.assert_array_equal(near.index[:, 0], np.arange(1000))
    assert set(near.index[:, 1:].ravel()) <= set(some)
    np.testing.assert_allclose(near.distance, np.linalg.norm(points[near.index] - points[:, None], axis=2), atol=1e-7)
    others = np.setdiff1d(np.arange(1000), some)
    every = np.sort(np.linalg.norm(points[others][:, None] - points[some], axis=2), axis=1)
    # The cell itself stands where the nearest of the others would.
    np.testing.assert_allclose(near.distance[others, 1:], every[:, 1:40], atol=1e-7)


@pytest.mark.slow  # the search is compiled first
def test_of_many_cells_few_neighbours_are_nearly_all_of_the_nearest(monkeypatch):
    points = np.random.default_rng(0).normal(size=(1000, 3))
    exact = Neighbors.of(points, k=15)
    monkeypatch.setattr(_neighbors, "MOST_SEARCHED", 200)
    near = Neighbors.of(points, k=15)
    np.testing.assert_array_equal(near.index[:, 0], np.arange(1000))
    assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(near.index, exact.index, strict=True)]) > 14
