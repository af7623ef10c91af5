"""How any quantity of the cells changes along a velocity in the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scnode.data._winding import wrap

if TYPE_CHECKING:
    from scnode.data._neighbors import Neighbors

_CHUNK = 1024


def derivative_along(
    latent: np.ndarray, velocity: np.ndarray, neighbors: Neighbors, *, n_smooth: int = 30
) -> sp.csr_matrix:
    r"""Operator D with :math:`(Dx)_i = \nabla x(z_i)\cdot v_i`, by local linear regression over the neighbours.

    With smoothed states :math:`z_j` around their mean :math:`\bar z`, their covariance :math:`C` and the variance
    :math:`\sigma^2` that noise alone gives them, the row of cell i holds
    :math:`w_{ij} = (z_j - \bar z)\cdot(C + \sigma^2 I)^{-1} v_i / k`, which sum to zero: no constant changes.

    Parameters
    ----------
    latent, velocity
        Shape (cell, latent).
    neighbors
        Neighbourhoods that are regressed over; the nearest `n_smooth` are averaged, as what is differentiated
        should be.

    Returns
    -------
    scipy.sparse.csr_matrix
        Shape (cell, cell), in the velocity's unit of time.
    """
    near = neighbors.first(min(n_smooth, max(2, len(latent) // 4)))
    smooth, (n, k) = near.mean(latent), neighbors.index.shape
    d = latent.shape[1]
    noise = np.maximum(near.mean((latent**2).sum(1)) - (smooth**2).sum(1), 0) / (d * near.index.shape[1])
    noise += np.finfo(float).tiny + 1e-9 * smooth.var()
    weight = np.empty((n, k))
    for rows in np.array_split(np.arange(n), max(1, n // _CHUNK)):
        around = smooth[neighbors.index[rows]]
        around = around - around.mean(1, keepdims=True)
        covariance = np.einsum("nki,nkj->nij", around, around) / k
        slope = np.linalg.solve(covariance + noise[rows, None, None] * np.eye(d), velocity[rows][..., None])
        weight[rows] = (around @ slope)[..., 0] / k
    return sp.csr_matrix((weight.ravel(), neighbors.index.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))


def pace_of(operator: sp.csr_matrix, clock: np.ndarray, *, periodic: bool = False) -> float:
    """Time that the clock shows per unit of the velocity's, the median over cells; differences wrap on a cycle."""
    row = np.repeat(np.arange(operator.shape[0]), np.diff(operator.indptr))
    shown = clock[operator.indices] - clock[row]
    if periodic:
        shown = wrap(shown)
    each = np.bincount(row, operator.data * shown, operator.shape[0])
    moving = each[each != 0]
    return max(float(np.median(moving)) if len(moving) else 1.0, 1e-6)
