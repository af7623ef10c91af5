"""Quantiles with a guarantee for a finite sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def conformal_quantile(scores: NDArray[np.float64], coverage: float) -> float:
    r"""The :math:`\lceil (n + 1)\,c \rceil`-th smallest of n scores, below which a new one lies with probability c.

    The guarantee, :math:`c \le P(s \le \hat q) \le c + 1/(n + 1)` without ties, holds for every law of the scores so
    long as the new one is exchangeable with them.

    Parameters
    ----------
    scores
        Nonconformity scores of the calibration, shape (score,).
    coverage
        c, between 0 and 1.

    Returns
    -------
    float
        The quantile; the largest score where n is too small to give it.

    Raises
    ------
    ScnodeError
        No score, scores that are not finite, or a coverage outside (0, 1).

    References
    ----------
    :cite:p:`Vovk2005`, :cite:p:`Angelopoulos2021`
    """
    if not 0 < coverage < 1 or np.ndim(scores) != 1 or not len(scores) or not np.isfinite(scores).all():
        raise ScnodeError(
            f"coverage={coverage} of scores of shape {np.shape(scores)}; pass a coverage between 0 and 1 and at least "
            "one finite score."
        )
    rank = min(int(np.ceil((len(scores) + 1) * coverage)), len(scores))
    return float(np.sort(scores)[rank - 1])


def interval_scores(
    cells: NDArray[np.float64], cloud: NDArray[np.float64], *, coverage: float, moved: NDArray[np.float64] | float = 0.0
) -> NDArray[np.float64]:
    r"""How far each coordinate of a cell lies outside the interval of the cloud, in units of it; negative inside.

    With :math:`\hat q` the quantiles of the cloud, :math:`\hat\sigma` its standard deviation and :math:`m` how far it
    has been moved, :math:`s = \max(\hat q_{lo} - y,\; y - \hat q_{hi})/\sqrt{\hat\sigma^2 + m^2}`: what was moved
    farther may be farther off.

    Parameters
    ----------
    cells, cloud
        Shapes (cell, axis) and (state, axis).
    coverage
        Of the interval.
    moved
        m, shape (axis,) or one number.

    Returns
    -------
    numpy.ndarray
        Shape (cell, axis).

    References
    ----------
    :cite:p:`Romano2019`
    """
    low, high = np.quantile(cloud, [(1 - coverage) / 2, (1 + coverage) / 2], axis=0)
    return np.maximum(low - cells, cells - high) / (np.hypot(cloud.std(0), moved) + np.finfo(float).tiny)
