"""Clouds of points and their masses, as every distance takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


def check_clouds(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Two finite clouds of one dimension, (n, dimension) and (m, dimension)."""
    left, right = (np.asarray(v, dtype=np.float64) for v in (x, y))
    for cloud in (left, right):
        if cloud.ndim != 2 or not cloud.size:
            raise ScnodeError(
                f"A cloud has shape {cloud.shape}. Pass points as (n, dimension), as in x.reshape(-1, 1)."
            )
        if not np.isfinite(cloud).all():
            raise ScnodeError(f"{(~np.isfinite(cloud).all(1)).sum()} points are not finite. Drop them.")
    if left.shape[1] != right.shape[1]:
        raise ScnodeError(f"Clouds of {left.shape[1]} and {right.shape[1]} dimensions. Pass both in one space.")
    return left, right


def check_weights(weights: ArrayLike | None, n: int, name: str) -> Floats:
    """Masses that sum to 1, equal ones by default."""
    if weights is None:
        return np.full(n, 1 / n)
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (n,):
        raise ScnodeError(f"{name}= has shape {values.shape} for {n} points. Pass one weight per point.")
    if not np.isfinite(values).all() or (values < 0).any() or not values.sum() > 0:
        raise ScnodeError(f"{name}= must be finite, not negative and not all zero. Pass positive weights.")
    return values / values.sum()


def subsample(cloud: Floats, weights: Floats, most: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """At most `most` points, drawn without replacement, and their masses scaled to sum to 1."""
    if most < 1:
        raise ScnodeError(f"max_points={most} leaves no point. Pass at least 1.")
    if len(cloud) <= most:
        return cloud, weights
    heavy = np.flatnonzero(weights)
    if len(heavy) <= most:
        return cloud[heavy], weights[heavy]
    rows = rng.choice(heavy, most, replace=False)
    return cloud[rows], weights[rows] / weights[rows].sum()
