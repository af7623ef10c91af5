"""A day that no method saw: clouds of cells against those collected, and the velocity that days alone give."""

from __future__ import annotations

import numpy as np
import ot
from _data import Case
from scipy.spatial.distance import cdist

N_DRAWS = 5


def scores(case: Case, found: dict[str, np.ndarray]) -> dict[str, float]:
    """Distances over those between two halves of the day's own cells, medians over draws of halves."""
    if "cloud" not in case.truth or "cloud" not in found:
        return {}
    rng = np.random.default_rng(case.seed)
    draws = [one_draw(case.truth["cloud"], found["cloud"], rng) for _ in range(N_DRAWS)]
    return {name: float(np.median([draw[name] for draw in draws])) for name in draws[0]}


def one_draw(truth: np.ndarray, cloud: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """All clouds of one size, since both distances shrink with it."""
    size = min(len(truth) // 2, len(cloud))
    order = rng.permutation(len(truth))
    half, other = truth[order[:size]], truth[order[size : 2 * size]]
    drawn = cloud[rng.permutation(len(cloud))[:size]]
    return {
        "W1": wasserstein(drawn, half) / wasserstein(other, half),
        "energy": energy(drawn, half),
    }


def wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    return float(ot.emd2(ot.unif(len(a)), ot.unif(len(b)), cdist(a, b), numItermax=1_000_000))


def energy(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased: a cell's distance to itself does not count, so that two halves of one cloud are at zero."""
    n, m = len(a), len(b)
    return float(2 * cdist(a, b).mean() - cdist(a, a).sum() / (n * (n - 1)) - cdist(b, b).sum() / (m * (m - 1)))
