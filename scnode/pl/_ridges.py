"""Ridges of a value of cells over an embedding."""

from __future__ import annotations

import numpy as np

_N_GRID = 120
_BANDWIDTH = 4.0
_UPPER = 0.8
# Of a cell, in grid steps: smoothing reaches farther.
_NEAR = 2.0


def ridges(position: np.ndarray, values: np.ndarray) -> np.ndarray:
    r"""Points (point, 2) on the height ridges of a value smoothed over a grid.

    With gradient :math:`g`, and :math:`e` the direction of the Hessian's smaller eigenvalue :math:`\lambda`, a grid
    point lies on a ridge if :math:`\lambda < 0` and the top across it, a step :math:`-g\cdot e/\lambda` away along
    :math:`e`, is within half a grid step (:cite:p:`Eberly1994`); it is moved there. Only the upper fifth of the
    smoothed values counts, and only where there are cells.
    """
    known = np.isfinite(values)
    if known.sum() < 3:
        return np.empty((0, 2))
    from scipy.spatial import KDTree

    origin, step, surface = _surface(position[known], values[known])
    rise = np.stack(np.gradient(surface))
    hessian = np.stack([np.stack(np.gradient(part)) for part in rise])
    level = surface > np.nanquantile(surface, _UPPER)
    usable = level & np.isfinite(rise).all(0) & np.isfinite(hessian).all((0, 1))
    at = np.argwhere(usable)
    matrices = np.moveaxis(hessian[:, :, usable], 2, 0)
    curvature, axes = np.linalg.eigh((matrices + matrices.transpose(0, 2, 1)) / 2)
    across, lowest = axes[:, :, 0], curvature[:, 0]
    away = -np.einsum("in,ni->n", rise[:, usable], across) / np.where(lowest < 0, lowest, -np.finfo(float).tiny)
    top = (lowest < 0) & (np.abs(away) <= 0.5)
    points = (at + away[:, None] * across)[top]
    return origin + step * points[KDTree((position[known] - origin) / step).query(points)[0] < _NEAR]


def _surface(position: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower corner and step of a grid, and on it the local mean of the values, NaN where there are no cells."""
    from scipy.ndimage import gaussian_filter

    low, high = position.min(0), position.max(0)
    step = np.maximum(high - low, np.finfo(float).tiny) / (_N_GRID - 1)
    place = np.rint((position - low) / step).astype(int)
    count, total = np.zeros((2, _N_GRID, _N_GRID))
    np.add.at(count, tuple(place.T), 1.0)
    np.add.at(total, tuple(place.T), values)
    weight, weighted = (gaussian_filter(a, _BANDWIDTH, mode="constant") for a in (count, total))
    # Below one cell's own weight the mean is that of far cells.
    enough = weight > 1.0 / (2 * np.pi * _BANDWIDTH**2)
    return low, step, np.divide(weighted, weight, out=np.full_like(weight, np.nan), where=enough)
