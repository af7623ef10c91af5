"""What a held-out day looks like to one who knows the other days and has no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from _data import Case

from scnode.metrics._wasserstein import optimal_plan


@dataclass(frozen=True)
class Gap:
    """Clouds of two days, and where the day held out lies: between them below 1, after the second above."""

    first: np.ndarray
    second: np.ndarray
    share: float

    @property
    def before(self) -> np.ndarray:
        return self.first if self.share < 1 else self.second

    @property
    def since(self) -> float:
        return self.share if self.share < 1 else self.share - 1


def no_motion(case: Case) -> dict[str, np.ndarray]:
    """The day before."""
    return predict(case, lambda gap: gap.before)


def straight_line(case: Case) -> dict[str, np.ndarray]:
    """The day before, moved as the means of the two days move."""
    return predict(case, lambda gap: gap.before + gap.since * (gap.second.mean(0) - gap.first.mean(0)))


def transport(case: Case) -> dict[str, np.ndarray]:
    """Cells on the straight lines of the exact optimal transport between the two days, prolonged where needed."""
    return predict(case, displaced)


def displaced(gap: Gap) -> np.ndarray:
    rows, columns = np.nonzero(optimal_plan(gap.first, gap.second))
    return gap.first[rows] + gap.share * (gap.second[columns] - gap.first[rows])


def predict(case: Case, rule: Callable[[Gap], np.ndarray]) -> dict[str, np.ndarray]:
    """Nothing where no day is held out."""
    if "predict" not in case.seen.uns:
        return {}
    asked, day = float(case.seen.uns["predict"]), case.seen.obs["day"].to_numpy()
    days = np.unique(day)
    place = min(int(np.searchsorted(days, asked)), len(days) - 1)
    start, end = days[place - 1 : place + 1]
    states = case.seen.obsm["X_pca"]
    return {"cloud": rule(Gap(states[day == start], states[day == end], float((asked - start) / (end - start))))}
