"""Exact Wasserstein distance between clouds of cells."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._random import random_source
from scnode.metrics._clouds import check_clouds, check_weights, subsample

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_MAX_POINTS = 3000
_ITERATIONS_PER_POINT = 10_000
_AT_LEAST = 1_000_000


def wasserstein(
    x: ArrayLike,
    y: ArrayLike,
    *,
    p: int = 1,
    x_weights: ArrayLike | None = None,
    y_weights: ArrayLike | None = None,
    max_points: int = _MAX_POINTS,
    rng: int | np.random.Generator | None = 0,
) -> float:
    r"""Exact Wasserstein distance with the Euclidean metric, by the network simplex of POT.

    .. math:: W_p(x, y) = \Big(\min_{\pi\in\Pi(a, b)} \sum_{ij} \pi_{ij} \|x_i - y_j\|^p\Big)^{1/p}

    :math:`W_1` is the mean distance of the cheapest pairing and :math:`W_2` the root of its mean squared distance.
    Both are biased upwards in finite samples, so that distances are only comparable between samples of equal sizes.

    Parameters
    ----------
    x, y
        Clouds, shape (n, dimension) and (m, dimension).
    p
        Order, 1 or 2.
    x_weights, y_weights
        Masses :math:`a` and :math:`b` of the points, shape (n,) and (m,), scaled to sum to 1; equal by default.
    max_points
        A larger cloud is subsampled, without replacement, to this many points; 3000 by default.
    rng
        Source of the subsample.

    Returns
    -------
    float
        Distance in the unit of the clouds.

    Raises
    ------
    ScnodeError
        POT is not installed, clouds or weights that cannot be used, or a plan that POT did not bring to its optimum.

    References
    ----------
    :cite:p:`Peyre2019`, :cite:p:`Flamary2021`
    """
    if p not in (1, 2):
        raise ScnodeError(f"p={p!r} is not available. Pass p=1 or p=2.")
    left, right = check_clouds(x, y)
    a, b = check_weights(x_weights, len(left), "x_weights"), check_weights(y_weights, len(right), "y_weights")
    generator = random_source(rng)
    (left, a), (right, b) = (subsample(v, w, max_points, generator) for v, w in ((left, a), (right, b)))
    plan = optimal_plan(left, right, a, b, p=p)
    return float((plan * _cost(left, right, p)).sum() ** (1 / p))


def optimal_plan(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    a: NDArray[np.float64] | None = None,
    b: NDArray[np.float64] | None = None,
    *,
    p: int = 2,
) -> NDArray[np.float64]:
    r"""Optimal transport plan, :math:`\arg\min_{\pi\in\Pi(a, b)} \sum_{ij} \pi_{ij}\|x_i - y_j\|^p`, by POT.

    Parameters
    ----------
    x, y
        Clouds, shape (n, dimension) and (m, dimension).
    a, b
        Masses of the points, each of sum 1; equal by default.
    p
        Order of the cost, 1 or 2.

    Returns
    -------
    numpy.ndarray
        Shape (n, m).

    Raises
    ------
    ScnodeError
        POT is not installed, or did not reach the optimum.

    References
    ----------
    :cite:p:`Peyre2019`, :cite:p:`Flamary2021`
    """
    ot = require_pot()
    a, b = (np.full(len(v), 1 / len(v)) if w is None else w for v, w in ((x, a), (y, b)))
    most = max(_AT_LEAST, _ITERATIONS_PER_POINT * (len(x) + len(y)))
    # POT reports a plan that is not optimal by a warning only, and again in its log.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan, log = ot.emd(a, b, _cost(x, y, p), numItermax=most, log=True)
    if log["warning"] is not None:
        raise ScnodeError(
            f"No optimal plan between clouds of {len(x)} and {len(y)} points ({log['warning']}). Pass fewer points."
        )
    return plan


def _cost(x: NDArray[np.float64], y: NDArray[np.float64], p: int) -> NDArray[np.float64]:
    from scipy.spatial.distance import cdist

    return cdist(x, y, "euclidean" if p == 1 else "sqeuclidean")


def require_pot() -> Any:
    """POT, or an error that names the extra."""
    try:
        import ot
    except ImportError as error:
        raise ScnodeError('Exact optimal transport needs POT. Run pip install "scnode[ot]".') from error
    return ot
