"""A velocity on a regular grid, only where there are cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_N_KERNEL = 50
_N_NEAR = 5
_REACH = 1.3


@dataclass(frozen=True)
class GridField:
    """Velocity and trust on a grid; NaN where there are no cells.

    Parameters
    ----------
    x, y
        Axes of the grid, equally spaced, shape (column,) and (row,).
    velocity
        Shape (row, column, 2).
    trust
        In [0, 1], shape (row, column).
    """

    x: np.ndarray
    y: np.ndarray
    velocity: np.ndarray
    trust: np.ndarray


def on_grid(position: np.ndarray, velocity: np.ndarray, trust: np.ndarray, *, n_grid: int) -> GridField:
    """Gaussian kernel average over the cells near each grid point.

    A grid point counts as among cells when its fifth nearest lies within 1.3 grid steps.

    Parameters
    ----------
    position, velocity
        Shape (cell, 2).
    trust
        Shape (cell,).
    n_grid
        Points along the longer side.
    """
    from sklearn.neighbors import NearestNeighbors

    low, high = position.min(0), position.max(0)
    step = float((high - low).max()) / (n_grid - 1)
    # matplotlib's streamplot refuses axes that are not equally spaced to rounding, so float64 throughout.
    x, y = (low[i] - step + step * np.arange(int(np.ceil((high[i] - low[i]) / step)) + 3) for i in (0, 1))
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    search = NearestNeighbors(n_neighbors=min(_N_KERNEL, len(position))).fit(position)
    distance, index = search.kneighbors(points)
    weight = np.exp(-((distance / step) ** 2) / 2) + np.finfo(float).tiny
    weight /= weight.sum(1, keepdims=True)
    flow = np.einsum("pk,pkd->pd", weight, velocity[index])
    faith = (weight * trust[index]).sum(1)
    empty = distance[:, min(_N_NEAR, len(position)) - 1] > _REACH * step
    flow[empty], faith[empty] = np.nan, np.nan
    shape = (len(y), len(x))
    return GridField(x, y, flow.reshape(*shape, 2), faith.reshape(shape))
