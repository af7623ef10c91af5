"""Nearest neighbours in the latent space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scnode.data._evenly import MOST_SEARCHED, evenly

_NUMBERS = 1 << 26
_GRAPH = 31


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
        """The `k` nearest cells of each; k is bounded by the number of cells.

        Of more than 50,000 cells, up to 31 (the cell itself and 30 others, for graphs) are nearly all of the nearest.
        Wider neighbourhoods, which are there to average, are those among 50,000 evenly taken cells, at a cost that
        grows with the number of cells.
        """
        k = min(k, len(latent))
        search = _approximate if len(latent) > MOST_SEARCHED and k <= _GRAPH else _among_some
        distance, index = search(latent, k)
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
        """Mean of (cell, ...) over each cell's neighbourhood, a few cells at a time."""
        parts = np.array_split(self.index, 1 + self.index.size * (values[:1].size) // _NUMBERS)
        return np.concatenate([values[index].mean(1) for index in parts])


def _among_some(latent: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.neighbors import NearestNeighbors

    some = evenly(len(latent), MOST_SEARCHED)
    search = NearestNeighbors(n_neighbors=k).fit(latent[some])
    index, distance = np.empty((len(latent), k), dtype=np.int32), np.empty((len(latent), k))
    for rows in np.array_split(np.arange(len(latent)), 1 + len(latent) // MOST_SEARCHED):
        distance[rows], found = search.kneighbors(latent[rows])
        index[rows] = some[found]
    return distance, index


def _approximate(latent: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearly all of the nearest, in a time that grows little faster than the number of cells."""
    from pynndescent import NNDescent

    states = latent.astype(np.float32)
    index, distance = NNDescent(states, n_neighbors=k, random_state=0).neighbor_graph
    return distance.astype(np.float64), index
