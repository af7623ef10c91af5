import numpy as np
import pytest

from scnode import ScnodeError
from scnode.metrics import conformal_quantile, interval_scores


@pytest.mark.parametrize("n", [9, 19, 50])
def test_new_scores_lie_below_as_often_as_promised(n):
    rng = np.random.default_rng(0)
    hits = [rng.exponential() <= conformal_quantile(rng.exponential(size=n), 0.9) for _ in range(4000)]
    assert 0.9 - 0.015 < np.mean(hits) < 0.9 + 1 / (n + 1) + 0.015


def test_the_quantile_is_the_rank_of_the_papers():
    assert conformal_quantile(np.arange(1.0, 11), 0.9) == 10
    assert conformal_quantile(np.arange(1.0, 100), 0.9) == 90
    assert conformal_quantile(np.array([3.0]), 0.9) == 3


@pytest.mark.parametrize(("scores", "coverage"), [([], 0.9), ([1.0, np.nan], 0.9), ([1.0], 1.0), ([[1.0]], 0.5)])
def test_what_has_no_quantile_is_refused(scores, coverage):
    with pytest.raises(ScnodeError, match="one finite score"):
        conformal_quantile(np.array(scores), coverage)


def test_cells_of_the_same_law_are_covered():
    rng = np.random.default_rng(1)
    cloud, cells = rng.normal(size=(2, 4000, 3))
    scores = interval_scores(cells, cloud, coverage=0.9)
    assert scores.shape == (4000, 3)
    assert abs((scores <= 0).mean() - 0.9) < 0.015


def test_a_correction_from_one_sample_holds_on_another():
    rng = np.random.default_rng(2)
    cloud, (first, second) = rng.normal(size=(500, 2)), rng.normal(0.5, 1.5, size=(2, 2000, 2))
    assert (interval_scores(second, cloud, coverage=0.9) <= 0).mean() < 0.8
    widen = conformal_quantile(interval_scores(first, cloud, coverage=0.9).ravel(), 0.9)
    assert abs((interval_scores(second, cloud, coverage=0.9) <= widen).mean() - 0.9) < 0.02


def test_scores_are_in_units_of_the_cloud():
    cloud = np.linspace(-1, 1, 201)[:, None]
    cells = np.array([[0.0], [2.0]])
    one, ten = (interval_scores(f * cells, f * cloud, coverage=0.9) for f in (1, 10))
    np.testing.assert_allclose(one, ten)
    np.testing.assert_allclose(one[:, 0] * cloud.std(), [-0.9, 1.1])
