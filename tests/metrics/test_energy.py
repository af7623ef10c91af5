import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import cdist

from scnode import ScnodeError
from scnode.metrics import _energy, energy_distance

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 3)), RNG.normal(1.0, 2.0, (45, 3))


def test_one_dimension_is_the_square_of_scipys():
    found = energy_distance(X[:, :1], Y[:, :1])
    assert found == pytest.approx(scipy.stats.energy_distance(X[:, 0], Y[:, 0]) ** 2)


def test_gaussians_are_as_far_as_in_closed_form():
    shift, scale = 1.5, np.sqrt(2)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(4000, 1)), rng.normal(shift, 1, (4000, 1))
    # E|N(m, s^2)| is the mean of the folded normal law.
    folded = [
        scale * np.sqrt(2 / np.pi) * np.exp(-(m**2) / 4) + m * (1 - 2 * scipy.stats.norm.cdf(-m / scale))
        for m in (shift, 0.0)
    ]
    assert energy_distance(x, y, unbiased=True) == pytest.approx(2 * (folded[0] - folded[1]), rel=0.05)


@pytest.mark.parametrize("unbiased", [False, True])
def test_the_statistic_is_what_its_name_says(unbiased):
    off = [cdist(v, v)[~np.eye(len(v), dtype=bool)].mean() if unbiased else cdist(v, v).mean() for v in (X, Y)]
    assert energy_distance(X, Y, unbiased=unbiased) == pytest.approx(2 * cdist(X, Y).mean() - sum(off))


def test_it_is_symmetric_and_blind_to_order():
    assert energy_distance(X, Y) == pytest.approx(energy_distance(Y, X))
    assert energy_distance(X[::-1], Y) == pytest.approx(energy_distance(X, Y))
    assert energy_distance(X, X[::-1]) == pytest.approx(0, abs=1e-12)
    assert energy_distance(X, X + 1) > 0


def test_the_unbiased_one_has_mean_zero_for_one_law_and_the_other_does_not():
    rng = np.random.default_rng(3)
    pairs = [rng.normal(size=(2, 20, 2)) for _ in range(300)]
    unbiased = np.array([energy_distance(*pair, unbiased=True) for pair in pairs])
    assert abs(unbiased.mean()) < 3 * unbiased.std() / np.sqrt(len(pairs))
    assert (unbiased < 0).any()
    assert np.mean([energy_distance(*pair) for pair in pairs]) > 10 * unbiased.std() / np.sqrt(len(pairs))


def test_blocks_do_not_show(monkeypatch):
    whole = energy_distance(X, Y)
    monkeypatch.setattr(_energy, "_CHUNK", 7)
    assert energy_distance(X, Y) == pytest.approx(whole)


def test_large_clouds_are_subsampled_by_the_rng():
    first, again, other = (energy_distance(X, Y, max_points=20, rng=seed) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("x", "options", "fix"),
    [
        (X[:, 0], {}, "reshape"),
        (X[:, :2], {}, "one space"),
        (np.full((3, 3), np.inf), {}, "Drop them"),
        (X[:1], {"unbiased": True}, "unbiased=False"),
        (X, {"max_points": 0}, "at least 1"),
    ],
)
def test_bad_clouds_are_refused(x, options, fix):
    with pytest.raises(ScnodeError, match=fix):
        energy_distance(x, Y, **options)
