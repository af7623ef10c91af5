"""Nearest neighbours in the latent space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Neighbors:
    """Indices of the nearest cells, the cell itself first.

    Parameters
    ----------
    index
        Shape (cell, neighbour), nearest first.
    distance
        Euclidean, shape (cell, neighbour).
    """

    index: np.ndarray
    distance: np.ndarray

    @classmethod
    def among(cls, latent: np.ndarray, crowd: np.ndarray, *, k: int) -> Neighbors:
        """The nearest cells of the same label (cell,); where those are fewer than `k`, they are named again."""
        k = min(k, len(latent))
        index, distance = np.empty((len(latent), k), dtype=np.int64), np.empty((len(latent), k))
        for label in np.unique(crowd):
            rows = np.flatnonzero(crowd == label)
            own = cls.of(latent[rows], k=k)
            column = np.arange(k) % own.index.shape[1]
            index[rows], distance[rows] = rows[own.index[:, column]], own.distance[:, column]
        return cls(index, distance)

    @classmethod
    def of(cls, latent: np.ndarray, *, k: int) -> Neighbors:
        """The `k` nearest cells of each; k is bounded by the number of cells."""
        from sklearn.neighbors import NearestNeighbors

        k = min(k, len(latent))
        distance, index = NearestNeighbors(n_neighbors=k).fit(latent).kneighbors(latent)
        # Equal points may come in any order: the cell itself must lead, and the twin that led takes its place.
        own = np.arange(len(latent))
        place = (index == own[:, None]).argmax(1)
        index[own, place] = index[:, 0]
        index[:, 0], distance[:, 0] = own, 0.0
        return cls(index, distance)

    def first(self, k: int) -> Neighbors:
        """The nearest `k` only."""
        return Neighbors(self.index[:, :k], self.distance[:, :k])

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Mean of (cell, ...) over each cell's neighbourhood."""
        return values[self.index].mean(1)
