import numpy as np

from scnode.data import Support, _support, evenly


def test_states_among_the_cells_and_off_them():
    rng = np.random.default_rng(0)
    cells = rng.uniform(-1, 1, (2000, 2))
    support = Support(cells)
    states = np.array([[[0.0, 0.0], [0.5, -0.5]], [[3.0, 0.0], [0.0, 9.0]]])
    np.testing.assert_array_equal(support.misses(states), [[False, False], [True, True]])
    # One cell in a hundred lies farther from its nearest than the usual distance, by its definition.
    others = np.linalg.norm(cells[:, None] - cells, axis=2)
    own = np.sort(others, axis=1)[:, 1:16].mean(1)
    np.testing.assert_allclose(support.usual, np.quantile(own, 0.99))
    distance, index = support.nearest(states)
    np.testing.assert_allclose(distance, np.linalg.norm(cells[index] - states[:, :, None], axis=-1))
    np.testing.assert_allclose(support.excess(np.full(15, 3 * support.usual)), 2)


def test_twins_have_a_support():
    assert Support(np.zeros((20, 3))).misses(np.array([[0.0, 0, 0], [1, 0, 0]])).tolist() == [False, True]


def test_many_cells_are_stood_for_by_some(monkeypatch):
    monkeypatch.setattr(_support, "MOST_SEARCHED", 500)
    cells = np.random.default_rng(0).uniform(-1, 1, (2000, 2))
    support, few = Support(cells), evenly(2000, 500)
    distance, index = support.nearest(np.array([[0.0, 0.0], [3.0, 0.0]]))
    assert set(index.ravel()) <= set(few)
    np.testing.assert_allclose(distance[0], np.sort(np.linalg.norm(cells[few], axis=1))[:15])
    assert support.misses(np.array([[0.0, 0.0], [3.0, 0.0]])).tolist() == [False, True]
