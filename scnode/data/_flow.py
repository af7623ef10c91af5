"""Times that a velocity needs between neighbours, as a flow on the edges of their graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import lsqr

if TYPE_CHECKING:
    from scnode.data._neighbors import Neighbors

_LEAST_SPEED = 0.1


@dataclass(frozen=True)
class Flow:
    r"""Edges of a neighbour graph, each once, with the time that the velocity needs from head to tail.

    Parameters
    ----------
    n_cells
        Number of cells.
    head, tail
        Cells of each edge, shape (edge,).
    time
        :math:`\tau_{ij} = (x_j - x_i)\cdot(v_i/\|v_i\|^2 + v_j/\|v_j\|^2)/2`, shape (edge,). A speed counts as a tenth
        of the median at least.
    weight
        Geometric mean of the two speeds, mean 1, shape (edge,): a steady way around with evenly spread cells then has
        no part that a potential explains, however uneven its speed.
    """

    n_cells: int
    head: np.ndarray
    tail: np.ndarray
    time: np.ndarray
    weight: np.ndarray
    _gradient: sp.csr_matrix = field(init=False, repr=False)

    def __post_init__(self) -> None:
        row, root = np.arange(len(self.head)), np.sqrt(self.weight)
        place = (np.r_[row, row], np.r_[self.tail, self.head])
        gradient = sp.csr_matrix((np.r_[root, -root], place), shape=(len(row), self.n_cells))
        object.__setattr__(self, "_gradient", gradient)

    @classmethod
    def of(cls, latent: np.ndarray, velocity: np.ndarray, neighbors: Neighbors) -> Flow:
        """Flow of a velocity (cell, latent) that does not vanish everywhere."""
        n, k = neighbors.index.shape
        pair = np.sort(np.stack([np.repeat(np.arange(n), k - 1), neighbors.index[:, 1:].ravel()]), axis=0)
        head, tail = np.unique(pair, axis=1)
        speed = np.linalg.norm(velocity, axis=1)
        held = np.maximum(speed, _LEAST_SPEED * np.median(speed[speed > 0]))
        slowness = velocity / held[:, None] ** 2
        time = ((latent[tail] - latent[head]) * (slowness[head] + slowness[tail]) / 2).sum(1)
        weight = np.sqrt(held[head] * held[tail])
        return cls(n, head, tail, time, weight / weight.mean())

    def differences(self, values: np.ndarray) -> np.ndarray:
        """Tail minus head."""
        return values[self.tail] - values[self.head]

    def potential_of(self, edges: np.ndarray) -> np.ndarray:
        """Values (cell,) whose differences fit those of the edges."""
        root = np.sqrt(self.weight)
        return lsqr(self._gradient, root * edges, atol=1e-6, btol=1e-6, iter_lim=500)[0]

    def inner(self, a: np.ndarray, b: np.ndarray) -> float:
        """Weighted inner product over the edges."""
        return float((self.weight * a * b).sum())

    def at_cells(self, edges: np.ndarray) -> np.ndarray:
        """Sum over the edges of each cell."""
        return np.bincount(self.head, edges, self.n_cells) + np.bincount(self.tail, edges, self.n_cells)

    @cached_property
    def potential(self) -> np.ndarray:
        """Potential of the flow itself, shape (cell,)."""
        return self.potential_of(self.time)

    @cached_property
    def residual(self) -> np.ndarray:
        """What the potential leaves, shape (edge,)."""
        return self.time - self.differences(self.potential)

    @cached_property
    def size(self) -> float:
        """Squared norm."""
        return self.inner(self.time, self.time)

    @property
    def potential_share(self) -> float:
        """Share of the squared norm that the potential explains."""
        return 1 - self.inner(self.residual, self.residual) / self.size if self.size > 0 else 0.0
