"""Cells by what they are under, and the snapshots that each group goes through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from scnode.data._controls import Controls
    from scnode.data._snapshots import Snapshots

_FEWEST = 2
_CROWD = 30


@dataclass(frozen=True)
class Arms:
    """Groups of cells under one constant input.

    Parameters
    ----------
    control
        Input of each, shape (arm, control); 0 is the reference, untreated.
    number
        Arm of each cell, shape (cell,).
    rest
        Whether the reference is taken to stand still, for want of any evidence of its motion.
    """

    control: np.ndarray
    number: np.ndarray
    rest: bool = False

    @classmethod
    def of(cls, control: np.ndarray) -> Arms:
        """By the distinct rows of (cell, control)."""
        rows, number = np.unique(control, axis=0, return_inverse=True)
        return cls(rows, number.reshape(-1))

    @classmethod
    def one(cls, n_cells: int) -> Arms:
        """All cells in one arm, under no input."""
        return cls(np.zeros((1, 0)), np.zeros(n_cells, dtype=np.int64))

    @property
    def reference(self) -> int | None:
        """The arm whose input is 0."""
        idle = np.flatnonzero(~self.control.any(1))
        return int(idle[0]) if len(idle) else None

    @property
    def crowd(self) -> np.ndarray:
        """Labels (cell,) of cells that may be averaged: those of one arm, and of all arms of fewer than 30 cells."""
        return np.where(np.bincount(self.number)[self.number] >= _CROWD, self.number, -1)

    def courses(self, snapshots: Snapshots) -> list[np.ndarray]:
        """Of each arm the stops (stop, 2) that its cells go through: arm and number of the snapshot of the cells there.

        They are the arm's own snapshots; one that has none at the first time starts from the first of the reference.
        """
        seen = np.zeros((len(self.control), len(snapshots.kept)), dtype=int)
        np.add.at(seen, (self.number, snapshots.number), 1)
        own = [np.flatnonzero(n >= _FEWEST) for n in seen]
        reference = -1 if self.reference is None else self.reference
        untreated = own[reference] if reference >= 0 else np.zeros(0, dtype=int)
        courses = []
        for arm, times in enumerate(own):
            stops = [(arm, int(time)) for time in times]
            if len(times) and len(untreated) and untreated[0] < times[0]:
                stops.insert(0, (reference, int(untreated[0])))
            courses.append(np.array(stops, dtype=np.int64).reshape(-1, 2))
        return courses

    def rows(self, snapshots: Snapshots, stop: np.ndarray) -> np.ndarray:
        """Row numbers of the cells of a stop."""
        return np.flatnonzero((self.number == stop[0]) & (snapshots.number == stop[1]))

    def within(self, plan: sp.csr_matrix, earlier: np.ndarray, later: np.ndarray) -> sp.csr_matrix:
        """A plan without what it ties across arms."""
        entries = sp.coo_matrix(plan)
        same = self.number[earlier][entries.row] == self.number[later][entries.col]
        kept = (entries.data[same], (entries.row[same], entries.col[same]))
        return sp.csr_matrix(kept, shape=entries.shape)

    def notes(self, snapshots: Snapshots, controls: Controls) -> list[str]:
        """Arms of which the snapshots tell no motion, and what is assumed instead."""
        notes = []
        for arm, course in enumerate(self.courses(snapshots)):
            if arm == self.reference and self.rest:
                notes.append(
                    "Untreated cells are seen at one time alone, so they are taken to be at rest: the field is 0 where "
                    "its input is. Collect untreated cells at a second time to learn how they move."
                )
            elif len(course) < _FEWEST:
                notes.append(
                    f"Cells under {controls.describe(self.control[arm])} are seen at one time alone, with no untreated "
                    "ones before: nothing is known of their motion. Add untreated cells of an earlier time of "
                    f"adata.obs[{snapshots.key!r}]."
                )
        return notes
