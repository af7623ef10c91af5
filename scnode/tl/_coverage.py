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
            moved = (cloud.mean(0) - held.before.mean(0)) @ held.axes
            scores = interval_scores(target @ held.axes, cloud @ held.axes, coverage=COVERAGE, moved=moved)
            found.setdefault(method, []).append(scores.ravel())
    return {(method, held.time): np.concatenate(scores) for method, scores in found.items()}


def add_coverage(
    table: pd.DataFrame, scores: Scores, ahead: Scores, last: float, rng: np.random.Generator
) -> pd.DataFrame:
    """The table with `coverage` and `coverage_conformal`; the correction comes from other held-out times alone.

    `last` is a time with none after it, and `ahead` are the scores of the time before it, without both: another
    forecast with none after it, where there is such.
    """
    rows = list(zip(table["method"], table["holdout"], strict=True))
    corrected = []
    for method, time in rows:
        # The last time is like no other: there is nothing to interpolate to.
        like = [v for (name, when), v in scores.items() if name == method and when not in {time, last}]
        kinds = [like, [v for (name, _), v in ahead.items() if name == method and time == last]]
        # A forecast of the last time is trusted no more than those between two times.
        correction = max((_pooled(kind, rng) for kind in kinds if kind), default=np.nan)
        covered = np.nan if np.isnan(correction) else (scores[method, time] <= correction).mean()
        corrected.append(float(covered))
    return table.assign(coverage=[float((scores[row] <= 0).mean()) for row in rows], coverage_conformal=corrected)


def _pooled(times: list[Floats], rng: np.random.Generator) -> float:
    # Every time counts the same, however many cells it has.
    size = min(len(values) for values in times)
    return conformal_quantile(np.concatenate([rng.permutation(values)[:size] for values in times]), COVERAGE)


def leading_axes(latent: Floats, n: int = _N_AXES) -> Floats:
    """The first n principal axes of states, shape (latent, axis)."""
    return np.linalg.svd(latent - latent.mean(0), full_matrices=False)[2][:n].T
