import numpy as np
import pytest

from scnode.metrics import bootstrap_mean, cosine


def test_cosine_of_known_angles():
    a = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    b = np.array([[2.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(cosine(a, b), [1, -1, np.sqrt(0.5), np.nan])


def test_bootstrap_interval_covers_the_mean_of_a_normal_sample():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        mean, low, high = bootstrap_mean(rng.normal(2, 1, 60), n_resamples=300, rng=rng)
        assert low < mean < high
        covered += low < 2 < high
    assert 85 <= covered <= 100


def test_bootstrap_leaves_out_nan_and_is_nan_for_nothing():
    assert bootstrap_mean([1.0, np.nan, 1.0]) == pytest.approx((1, 1, 1))
    assert np.isnan(bootstrap_mean([])).all()
