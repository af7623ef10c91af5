"""Energy distance between clouds of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._random import random_source
from scnode.metrics._clouds import check_clouds, check_weights, subsample

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_MAX_POINTS = 20_000
_CHUNK = 1024


def energy_distance(
    x: ArrayLike,
    y: ArrayLike,
    *,
    unbiased: bool = False,
    max_points: int = _MAX_POINTS,
    rng: int | np.random.Generator | None = 0,
) -> float:
    r"""Energy distance :math:`2E\|X-Y\| - E\|X-X'\| - E\|Y-Y'\|` with the Euclidean metric.

    By default the V-statistic, whose means over :math:`x, x'` include each point with itself: never negative, and zero
    for equal clouds. With `unbiased` the U-statistic leaves those pairs out and may fall below zero for clouds of one
    law. :func:`scipy.stats.energy_distance` is the square root of the former in one dimension. Distances are taken in
    blocks of 1024 rows, so that memory grows with the number of points and not with its square.

    Parameters
    ----------
    x, y
        Clouds, shape (n, dimension) and (m, dimension).
    unbiased
        Whether to take the U-statistic, which needs two points in each cloud.
    max_points
        A larger cloud is subsampled, without replacement, to this many points; 20000 by default.
    rng
        Source of the subsample.

    Returns
    -------
    float
        Distance in the unit of the clouds.

    Raises
    ------
    ScnodeError
        Clouds that cannot be used.

    References
    ----------
    :cite:p:`Szekely2013`
    """
    left, right = check_clouds(x, y)
    generator = random_source(rng)
    left, right = (
        subsample(cloud, check_weights(None, len(cloud), ""), max_points, generator)[0] for cloud in (left, right)
    )
    if unbiased and min(len(left), len(right)) < 2:
        raise ScnodeError("The U-statistic needs two points in each cloud. Pass more points, or unbiased=False.")
    # A point's distance to itself is zero: leaving those pairs out changes the denominator alone.
    within = [_sum(cloud, cloud) / (len(cloud) * (len(cloud) - unbiased)) for cloud in (left, right)]
    value = 2 * _sum(left, right) / (len(left) * len(right)) - sum(within)
    return value if unbiased else max(value, 0.0)


def _sum(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Sum of all distances."""
    from scipy.spatial.distance import cdist

    return float(sum(cdist(x[i : i + _CHUNK], y).sum() for i in range(0, len(x), _CHUNK)))
