"""What a held-out day looks like to one who knows the other days and has no model."""

from __future__ import annotations

import numpy as np
import ot
from _data import Case
from scipy.spatial.distance import cdist


def no_motion(case: Case) -> dict[str, np.ndarray]:
    """The day before."""
    return {"cloud": clouds(case)[before(case)]}


def straight_line(case: Case) -> dict[str, np.ndarray]:
    """The day before, moved as its mean would on the line through the means of two days."""
    days, states = sorted(clouds(case)), clouds(case)
    start, end = pair(case, days)
    pace = (states[end].mean(0) - states[start].mean(0)) / (end - start)
    return {"cloud": states[before(case)] + pace * (float(case.seen.uns["predict"]) - before(case))}


def transport(case: Case) -> dict[str, np.ndarray]:
    """Cells on the straight lines of the exact optimal transport between two days; beyond the last, prolonged."""
    days, states = sorted(clouds(case)), clouds(case)
    start, end = pair(case, days)
    first, second = states[start], states[end]
    plan = ot.emd(ot.unif(len(first)), ot.unif(len(second)), cdist(first, second, "sqeuclidean"), numItermax=1_000_000)
    share = (float(case.seen.uns["predict"]) - start) / (end - start)
    rows, columns = np.nonzero(plan)
    return {"cloud": first[rows] + share * (second[columns] - first[rows])}


def clouds(case: Case) -> dict[float, np.ndarray]:
    day = case.seen.obs["day"].to_numpy()
    return {float(d): case.seen.obsm["X_pca"][day == d] for d in np.unique(day)}


def before(case: Case) -> float:
    return max(day for day in clouds(case) if day < float(case.seen.uns["predict"]))


def pair(case: Case, days: list[float]) -> tuple[float, float]:
    """The days around the one held out, or the last two."""
    place = int(np.searchsorted(days, float(case.seen.uns["predict"])))
    first = min(place - 1, len(days) - 2)
    return days[first], days[first + 1]
