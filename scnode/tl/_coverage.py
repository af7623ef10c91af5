"""How many held-out cells lie in the intervals of a predicted cloud, before and after conformal correction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode.metrics import conformal_quantile, interval_scores

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from scnode.tl._held_out import HeldOut

    Floats = NDArray[np.float64]

COVERAGE = 0.9
_N_AXES = 5
Scores = dict[tuple[str, float], "Floats"]


def cloud_scores(held: HeldOut, n_splits: int, rng: np.random.Generator) -> Scores:
    """How far cells lie outside the intervals of each method's cloud, along the leading axes of the kept cells."""
    found: dict[str, list[Floats]] = {}
    for _ in range(n_splits):
        target, clouds = held.draw(rng)
        for method, cloud in clouds.items():
            scores = interval_scores(target @ held.axes, cloud @ held.axes, coverage=COVERAGE)
            found.setdefault(method, []).append(scores.ravel())
    return {(method, held.time): np.concatenate(scores) for method, scores in found.items()}


def add_coverage(table: pd.DataFrame, scores: Scores, rng: np.random.Generator) -> pd.DataFrame:
    """The table with `coverage` and `coverage_conformal`; the correction comes from the other held-out times alone."""
    rows = list(zip(table["method"], table["holdout"], strict=True))
    corrected = [_corrected(scores, method, time, rng) for method, time in rows]
    return table.assign(coverage=[float((scores[row] <= 0).mean()) for row in rows], coverage_conformal=corrected)


def _corrected(scores: Scores, method: str, time: float, rng: np.random.Generator) -> float:
    others = [values for (name, when), values in scores.items() if name == method and when != time]
    if not others:
        return float("nan")
    # Every time counts the same, however many cells it has.
    size = min(len(values) for values in others)
    pooled = np.concatenate([rng.permutation(values)[:size] for values in others])
    return float((scores[method, time] <= conformal_quantile(pooled, COVERAGE)).mean())


def leading_axes(latent: Floats) -> Floats:
    """The first principal axes of states, shape (latent, axis)."""
    return np.linalg.svd(latent - latent.mean(0), full_matrices=False)[2][:_N_AXES].T
