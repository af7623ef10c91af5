import numpy as np

from scnode.data import Neighbors, draw_paths


def test_walks_go_forward_and_their_clock_with_them():
    rng = np.random.default_rng(0)
    cells = rng.uniform(0, 10, (2000, 2)) * [1, 0.1]
    velocity = np.tile([2.0, 0.0], (2000, 1))
    index, times = draw_paths(cells, velocity, Neighbors.of(cells, k=20), n_steps=4, rng=rng)
    np.testing.assert_array_equal(index[:, 0], np.arange(2000))
    assert (np.diff(cells[index, 0], axis=1) >= 0).all()
    np.testing.assert_allclose(np.diff(cells[index, 0], axis=1), 2 * np.diff(times, axis=1), atol=1e-9)


def test_a_cell_before_a_branching_point_has_both_futures_and_an_end_has_none():
    cells = np.array([[0.0, 0.0], [1.0, 0.6], [1.0, -0.6]])
    near, velocity = Neighbors.of(cells, k=3), np.tile([1.0, 0.0], (3, 1))
    drawn = [draw_paths(cells, velocity, near, n_steps=1, rng=np.random.default_rng(i))[0] for i in range(40)]
    assert {int(d[0, 1]) for d in drawn} == {1, 2}
    assert all((d[1:, 1] == [1, 2]).all() for d in drawn)
