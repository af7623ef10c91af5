import builtins
import warnings

import numpy as np
import pytest
import scipy.stats

from scnode import ScnodeError
from scnode.metrics import wasserstein
from scnode.metrics._wasserstein import optimal_plan

ot = pytest.importorskip("ot")
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 3)), RNG.normal(1.0, 2.0, (45, 3))


def bures(mean, left, right):
    """W2 between Gaussians of commuting covariances with the given standard deviations."""
    return np.sqrt((np.asarray(mean) ** 2).sum() + ((np.asarray(left) - np.asarray(right)) ** 2).sum())


@pytest.mark.parametrize("p", [1, 2])
def test_a_shifted_cloud_is_as_far_as_its_shift(p):
    shift = np.array([3.0, -4.0, 0.0])
    assert wasserstein(X, X + shift, p=p) == pytest.approx(5.0)


def test_gaussians_are_as_far_as_in_closed_form():
    left, right, mean = np.array([1.0, 0.5]), np.array([2.0, 1.5]), np.array([4.0, 0.0])
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2500, 2)) * left, rng.normal(size=(2500, 2)) * right + mean
    assert wasserstein(x, y, p=2) == pytest.approx(bures(mean, left, right), rel=0.02)


@pytest.mark.parametrize("weighted", [False, True])
def test_one_dimension_is_that_of_scipy(weighted):
    x, y = X[:, 0], Y[:, 0]
    a, b = (RNG.uniform(0.1, 1, len(v)) if weighted else None for v in (x, y))
    found = wasserstein(x[:, None], y[:, None], x_weights=a, y_weights=b)
    assert found == pytest.approx(scipy.stats.wasserstein_distance(x, y, a, b))


def test_order_two_in_one_dimension_pairs_the_quantiles():
    x, y = np.sort(X[:45, 0]), np.sort(Y[:, 0])
    assert wasserstein(x[:, None], y[:, None], p=2) == pytest.approx(np.sqrt(((x - y) ** 2).mean()))


@pytest.mark.parametrize("p", [1, 2])
def test_it_is_a_metric(p):
    z = RNG.normal(-1, 1, (50, 3))
    assert wasserstein(X, X[::-1], p=p) == pytest.approx(0, abs=1e-7)
    assert wasserstein(X, Y, p=p) == pytest.approx(wasserstein(Y, X, p=p))
    assert wasserstein(X, Y, p=p) <= wasserstein(X, z, p=p) + wasserstein(z, Y, p=p)
    assert wasserstein(X, Y, p=1) <= wasserstein(X, Y, p=2)
    order = RNG.permutation(len(X))
    assert wasserstein(X[order], Y, p=p) == pytest.approx(wasserstein(X, Y, p=p))


def test_weights_count_as_copies():
    copies = RNG.integers(1, 4, len(X))
    assert wasserstein(X, Y, x_weights=copies) == pytest.approx(wasserstein(np.repeat(X, copies, axis=0), Y))
    lone = np.zeros(len(X))
    lone[3] = 1
    assert wasserstein(X, Y, x_weights=lone) == pytest.approx(np.linalg.norm(Y - X[3], axis=1).mean())


def test_large_clouds_are_subsampled_by_the_rng():
    first, again, other = (wasserstein(X, Y, max_points=20, rng=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert wasserstein(X, X + 2, max_points=len(X)) == pytest.approx(2 * np.sqrt(3))


def test_the_largest_problem_reaches_its_optimum():
    x, y = np.random.default_rng(2).normal(size=(2, 3000, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan = optimal_plan(x, y, p=2)
    np.testing.assert_allclose(plan.sum(0), 1 / 3000)
    assert (plan > 0).sum() < 6000


def test_a_plan_short_of_its_optimum_is_an_error(monkeypatch):
    emd = ot.emd
    monkeypatch.setattr(ot, "emd", lambda a, b, cost, **options: emd(a, b, cost, **(options | {"numItermax": 1})))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ScnodeError, match="Pass fewer points"):
            wasserstein(X, Y)


def test_without_pot_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "ot":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ScnodeError, match=r'pip install "scnode\[ot\]"'):
        wasserstein(X, Y)


@pytest.mark.parametrize(
    ("x", "options", "fix"),
    [
        (X, {"p": 3}, "p=1 or p=2"),
        (X[:, 0], {}, "reshape"),
        (X[:0], {}, "reshape"),
        (X[:, :2], {}, "one space"),
        (np.where(X > 2, np.nan, X), {}, "Drop them"),
        (X, {"x_weights": np.ones(3)}, "one weight per point"),
        (X, {"x_weights": np.zeros(len(X))}, "positive weights"),
        (X, {"max_points": 0}, "at least 1"),
    ],
)
def test_bad_clouds_are_refused(x, options, fix):
    with pytest.raises(ScnodeError, match=fix):
        wasserstein(x, Y, **options)
