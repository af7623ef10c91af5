"""Cells by the time of their collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import EvidenceError
from scnode._settings import logger
from scnode._validation import near
from scnode.data._times import read_times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_FEWEST = 2


@dataclass(frozen=True)
class Snapshots:
    r"""Collection times of all cells, and of those that a fit may see the snapshots.

    The clock is :math:`\tau = (\text{day} - \text{origin}) / \text{span}`, 0 and 1 at the first and last snapshot kept.

    Parameters
    ----------
    key
        `obs` column.
    unit
        Of the column, ``"unknown"`` for plain numbers.
    days
        Collection time of every cell, shape (cell,).
    kept
        Times that the fit may see, increasing, shape (snapshot,).
    """

    key: str
    unit: str
    days: np.ndarray
    kept: np.ndarray

    @property
    def origin(self) -> float:
        """First time that is kept."""
        return float(self.kept[0])

    @property
    def span(self) -> float:
        """From the first to the last time that is kept."""
        return float(self.kept[-1] - self.kept[0])

    @property
    def seen(self) -> np.ndarray:
        """Mask of the cells that the fit may see, shape (cell,)."""
        return np.isin(self.days, self.kept)

    @property
    def clock(self) -> np.ndarray:
        """Time of every cell on the clock, shape (cell,)."""
        return (self.days - self.origin) / self.span

    @property
    def times(self) -> np.ndarray:
        """Snapshots on the clock, shape (snapshot,)."""
        return (self.kept - self.origin) / self.span

    @property
    def number(self) -> np.ndarray:
        """Snapshot of every cell, -1 for cells of times held out, shape (cell,)."""
        return np.where(self.seen, np.searchsorted(self.kept, self.days).clip(max=len(self.kept) - 1), -1)

    @property
    def rows(self) -> list[np.ndarray]:
        """Row numbers of the cells of each snapshot."""
        number = self.number
        return [np.flatnonzero(number == k) for k in range(len(self.kept))]

    def of_seen(self) -> Snapshots:
        """The same of the cells that the fit may see alone."""
        return Snapshots(self.key, self.unit, self.days[self.seen], self.kept)


def read_snapshots(adata: AnnData, key: str, *, holdout: Sequence[float] | None = None) -> Snapshots:
    """Collection times from a column of numbers or of labels such as "E15.5"; times of `holdout` are kept apart."""
    if key not in adata.obs:
        raise EvidenceError(f"adata.obs[{key!r}] not found. {near(key, adata.obs.columns)} Pass time_key=.")
    days, unit = read_times(adata.obs[key], key)
    if not np.isfinite(days).all():
        raise EvidenceError(
            f"adata.obs[{key!r}] is infinite in {(~np.isfinite(days)).sum()} cells. "
            f"Drop them: adata = adata[numpy.isfinite(adata.obs[{key!r}])].copy()."
        )
    times, number = np.unique(days, return_counts=True)
    kept = times[~np.isin(times, _held_out(times, key, holdout))]
    if len(kept) < _FEWEST:
        raise EvidenceError(
            f"adata.obs[{key!r}] leaves {len(kept)} time point to fit to: {kept.tolist()}. Motion needs two or more: "
            "pass a time_key= of several, hold out fewer, or name other evidence."
        )
    thin = times[(number < _FEWEST) & np.isin(times, kept)]
    if len(thin):
        raise EvidenceError(
            f"adata.obs[{key!r}] has fewer than {_FEWEST} cells at {len(thin)} of {len(kept)} times (first: "
            f"{thin[:3].tolist()}): no distribution. Merge them with near times or drop them; a time that is known for "
            f"each cell on its own goes in as pseudotime_key={key!r}."
        )
    return Snapshots(key, unit, days, kept)


def _held_out(times: np.ndarray, key: str, holdout: Sequence[float] | None) -> list[float]:
    wanted = [] if holdout is None else np.atleast_1d(holdout).tolist()
    # Labels are no times here either: they are told with the numbers that they stand for.
    unknown = [h for h in wanted if h not in times.tolist()]
    if unknown:
        raise EvidenceError(f"holdout={unknown} are no times of adata.obs[{key!r}]: {times[:10].tolist()}. Pass those.")
    return wanted


def warn_of_confounded_batches(adata: AnnData, snapshots: Snapshots, batch_key: str) -> None:
    """Batches that each hold one time alone cannot be told from time."""
    number = [
        len(np.unique(snapshots.days[rows])) for rows in adata.obs.groupby(batch_key, observed=True).indices.values()
    ]
    if len(number) > 1 and max(number) == 1:
        logger.warning(
            "Every batch of obs[%r] was collected at one time of obs[%r]: effects of batches and motion cannot be told "
            "apart, and correcting the batches would take motion away.",
            batch_key,
            snapshots.key,
        )
