"""A day that no method saw, beside the cells collected on it, and the velocity that days alone give."""

from __future__ import annotations

import numpy as np
from _data import Case
from _velocity import agreement, upper_half

from scnode.metrics import energy_distance, wasserstein

COLUMNS = ("velocity", "W1, inner", "energy, inner", "W1, last", "energy, last")
N_DRAWS = 5


def scores(case: Case, found: dict[str, np.ndarray]) -> dict[str, float]:
    """Cosine where every day is given; else distances to the day held out, medians over halves drawn of it."""
    if "cloud" not in case.truth:
        truth = case.truth["velocity_pca"]
        fast = upper_half(np.linalg.norm(truth, axis=1))
        return {"velocity": agreement(found["velocity_pca"], truth, fast)} if "velocity_pca" in found else {}
    if "cloud" not in found:
        return {}
    rng = np.random.default_rng(case.seed)
    draws = [distances(case.truth["cloud"], found["cloud"], rng) for _ in range(N_DRAWS)]
    day = case.task.rsplit("_")[-1]
    return {f"{name}, {day}": float(np.median([draw[name] for draw in draws])) for name in draws[0]}


def distances(truth: np.ndarray, cloud: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """W1 over that between two halves of the day, and energy distance; all clouds of one size, as both depend on it."""
    size = min(len(truth) // 2, len(cloud))
    order = rng.permutation(len(truth))
    half, other = truth[order[:size]], truth[order[size : 2 * size]]
    drawn = cloud[rng.permutation(len(cloud))[:size]]
    return {
        "W1": wasserstein(drawn, half) / wasserstein(other, half),
        "energy": energy_distance(drawn, half, unbiased=True),
    }
