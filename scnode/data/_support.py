"""Where the cells are: the nearest cells of any state, and whether it lies among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode.data._evenly import MOST_SEARCHED, evenly

if TYPE_CHECKING:
    from sklearn.neighbors import NearestNeighbors

_N_NEAREST = 15
_USUAL = 0.99


class Support:
    """The region of the latent space that cells cover, shown by at most 50,000 of them, evenly taken.

    Parameters
    ----------
    latent
        States of the cells, shape (cell, latent).
    """

    def __init__(self, latent: np.ndarray) -> None:
        from sklearn.neighbors import NearestNeighbors

        k = max(1, min(_N_NEAREST, len(latent) - 1))
        self._rows = evenly(len(latent), MOST_SEARCHED)
        self._search: NearestNeighbors = NearestNeighbors(n_neighbors=k).fit(latent[self._rows])
        # A cell on its own keeps no distance from others.
        own = self._search.kneighbors()[0].mean(1) if len(latent) > 1 else np.zeros(1)
        self.usual = float(np.quantile(own, _USUAL)) + np.finfo(float).tiny

    def nearest(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances and row numbers of the nearest cells of states (..., latent), both (..., 15)."""
        distance, index = self._search.kneighbors(states.reshape(-1, states.shape[-1]))
        shape = (*states.shape[:-1], -1)
        return distance.reshape(shape), self._rows[index].reshape(shape)

    def excess(self, distance: np.ndarray) -> np.ndarray:
        """How much farther than 99 % of the cells from theirs, relative to that distance; 0 among the cells."""
        return np.maximum(distance.mean(-1) / self.usual - 1, 0.0)

    def misses(self, states: np.ndarray) -> np.ndarray:
        """Whether states (..., latent) lie off the cells."""
        return self.excess(self.nearest(states)[0]) > 0
