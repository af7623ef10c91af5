import numpy as np
import torch
from sklearn.linear_model import Ridge

from scnode.nn._least_squares import _PENALTIES, ridge


def draws(n=60, p=20, noise=1.0):
    rng = np.random.default_rng(0)
    features, weight = rng.normal(size=(n, p)), rng.uniform(0.2, 1, n)
    truth = rng.normal(size=(p, 3)) * np.linspace(1, 0, p)[:, None]
    return features, features @ truth + noise * rng.normal(size=(n, 3)), weight, truth


def solved(features, target, weight):
    return ridge(*(torch.tensor(x) for x in (features, target, weight))).numpy()


def test_it_is_the_ridge_regression_of_one_of_the_penalties():
    features, target, weight, _ = draws()
    found, w = solved(features, target, weight), weight / weight.sum()
    unit = np.linalg.eigvalsh((features.T * w) @ features).mean()
    rivals = [
        Ridge(alpha=float(k) * unit, fit_intercept=False).fit(features, target, sample_weight=w).coef_.T
        for k in _PENALTIES
    ]
    assert min(np.abs(found - one).max() for one in rivals) < 1e-8


def test_noise_is_answered_by_a_penalty_and_its_absence_by_none():
    features, target, weight, truth = draws(noise=0.0)
    np.testing.assert_allclose(solved(features, target, weight), truth, atol=1e-5)
    features, target, weight, truth = draws(n=22, noise=2.0)
    plain = np.linalg.lstsq(features * np.sqrt(weight)[:, None], target * np.sqrt(weight)[:, None], rcond=None)[0]
    assert np.abs(solved(features, target, weight) - truth).mean() < np.abs(plain - truth).mean()
