"""RNA velocity in the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scnode._errors import EvidenceError
from scnode._settings import logger

if TYPE_CHECKING:
    from scnode.data._expression import Expression
    from scnode.data._neighbors import Neighbors

_CHUNK = 2048


def latent_velocity(
    velocity: np.ndarray, abundance: np.ndarray, expression: Expression, loadings: np.ndarray, genes: np.ndarray
) -> np.ndarray:
    r"""Project a gene velocity to the latent space through the log transform.

    :math:`\dot z = W^\top \big(c\,(\dot s - s\,\dot S/S) / (1 + c\,s)\big)`, with :math:`S` the total over the fitted
    genes, whose growth the normalisation to a common total takes away, and :math:`c` the factor that brings the cell's
    smoothed abundance to the scale on which the encoder takes logarithms.

    Parameters
    ----------
    velocity, abundance
        :math:`\dot s` and :math:`s` on one scale, shape (cell, gene); genes with any NaN are left out.
    expression
        What the encoder saw.
    loadings
        :math:`W`, shape (encoder gene, latent).
    genes
        Columns of `velocity` in the order of the rows of `loadings`.
    """
    v, s = velocity[:, genes], abundance[:, genes]
    fitted = np.isfinite(v).all(0)
    if not fitted.any():
        raise EvidenceError("Every velocity gene is NaN. Recompute with scnode.pp.velocity(adata).")
    if not fitted.all():
        logger.info("%d of %d velocity genes hold NaN and are left out.", (~fitted).sum(), len(fitted))
    c = _scale(expression.matrix[:, genes], s)
    v, s = v[:, fitted], s[:, fitted]
    total = s.sum(1, keepdims=True)
    growth = np.divide(v.sum(1, keepdims=True), total, out=np.zeros_like(total), where=total > 0)
    return (c * (v - s * growth) / (1 + c * s)) @ loadings[fitted]


def _scale(logarithms: sp.csr_matrix, abundance: np.ndarray) -> float:
    """Factor from the smoothed abundance to the linear scale of the encoder's input."""
    linear, total = np.asarray(logarithms.expm1().sum(1)).ravel(), abundance.sum(1)
    seen = (linear > 0) & (total > 0)
    return float(np.median(linear[seen] / total[seen])) if seen.any() else 1.0


def tangent_velocity(
    latent: np.ndarray, velocity: np.ndarray, neighbors: Neighbors, *, n_smooth: int = 30
) -> tuple[np.ndarray, np.ndarray]:
    r"""Mean velocity over the nearest cells, kept along the directions in which cells lie.

    A gene-wise velocity has errors of its own in every direction, while cells can only move where cells can be. With
    :math:`C` the covariance of the smoothed states over a neighbourhood and :math:`\sigma^2` the variance that noise
    alone gives them, the Wiener filter :math:`v \mapsto C(C + \sigma^2 I)^{-1} v` keeps the tangent of the cloud.

    Parameters
    ----------
    latent, velocity
        Shape (cell, latent).
    neighbors
        Neighbourhoods that :math:`C` is taken over; the nearest `n_smooth` are averaged.

    Returns
    -------
    tuple
        Velocity (cell, latent) and its standard error (cell,).
    """
    near = neighbors.first(n_smooth)
    mean, smooth = near.mean(velocity), near.mean(latent)
    k, d = near.index.shape[1], latent.shape[1]
    variance = np.maximum(near.mean((velocity**2).sum(1)) - (mean**2).sum(1), 0) / k
    noise = np.maximum(near.mean((latent**2).sum(1)) - (smooth**2).sum(1), 0) / (d * k) + np.finfo(float).tiny
    kept, gain = np.empty_like(mean), np.empty(len(mean))
    for rows in np.array_split(np.arange(len(mean)), max(1, len(mean) // _CHUNK)):
        around = smooth[neighbors.index[rows]]
        around = around - around.mean(1, keepdims=True)
        covariance = np.einsum("nki,nkj->nij", around, around) / around.shape[1]
        filtered = np.linalg.solve(covariance + noise[rows, None, None] * np.eye(d), covariance).transpose(0, 2, 1)
        kept[rows] = np.einsum("nij,nj->ni", filtered, mean[rows])
        gain[rows] = np.sqrt((filtered**2).sum((1, 2)) / d)
    floor = 1e-3 * np.median(np.linalg.norm(kept, axis=1)) + np.finfo(float).tiny
    return kept, np.maximum(gain * np.sqrt(variance), floor)
