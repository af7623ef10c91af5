"""What a source of evidence says, and the space it speaks of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scnode.data._arms import Arms

if TYPE_CHECKING:
    from scnode.data._coupling import Bridge
    from scnode.data._expression import Expression
    from scnode.data._neighbors import Neighbors
    from scnode.nn import Encoder


@dataclass(frozen=True)
class Evidence:
    """One source's estimate of the latent velocity.

    Parameters
    ----------
    name
        ``"time"``, ``"lineage"``, ``"pseudotime"`` or ``"velocity"``.
    source
        Where it was read, for the report.
    velocity
        Shape (cell, latent).
    se
        Standard error of the velocity, shape (cell,); infinite where the source says nothing of a cell.
    clock
        Time of each cell where the source has one, shape (cell,).
    gene_rate
        Rate of the encoder's input where the source is a gene velocity, shape (cell, encoder gene).
    bridge
        States between snapshots, where the source has such.
    growth
        Rate at which each cell multiplies, per unit of the clock, where that is known or learned, shape (cell,).
    """

    name: str
    source: str
    velocity: np.ndarray
    se: np.ndarray
    clock: np.ndarray | None = None
    gene_rate: np.ndarray | None = None
    bridge: Bridge | None = None
    growth: np.ndarray | None = None


@dataclass(frozen=True)
class Space:
    """The latent space that evidence is expressed in; the encoder is in double precision.

    With `arms`, neighbours are of one arm.
    """

    latent: np.ndarray
    neighbors: Neighbors
    expression: Expression | None = None
    encoder: Encoder | None = None
    genes: np.ndarray | None = None
    batch: np.ndarray | None = None
    arms: Arms | None = None

    @property
    def all_arms(self) -> Arms:
        """The arms, one where there are none."""
        return Arms.one(len(self.latent)) if self.arms is None else self.arms

    @property
    def crowd(self) -> np.ndarray | None:
        """Labels of cells that may be averaged; None where all may."""
        return None if self.arms is None else self.arms.crowd
