"""RNA velocity in the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import EvidenceError
from scnode._settings import logger
from scnode.data._chunks import blocks_of
from scnode.data._encode import encode_velocity
from scnode.data._neighbors import Neighbors

if TYPE_CHECKING:
    import scipy.sparse as sp

    from scnode.data._chunks import Chunks
    from scnode.data._expression import Expression
    from scnode.nn import Encoder

_CHUNK = 2048


def latent_velocity(
    velocity: np.ndarray,
    abundance: np.ndarray,
    expression: Expression,
    encoder: Encoder,
    genes: np.ndarray,
    *,
    batch: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Project a gene velocity to the latent space through the log transform and the encoder.

    :math:`\dot z = \partial E(x)\,\dot x` with :math:`x = \log(1 + c\,s)` and
    :math:`\dot x = c\,(\dot s - s\,\dot S/S) / (1 + c\,s)`, where :math:`S` is the total over the fitted genes, whose
    growth the normalisation to a common total takes away, and :math:`c` the factor that brings the cell's smoothed
    abundance to the scale on which the encoder takes logarithms.

    Parameters
    ----------
    velocity, abundance
        :math:`\dot s` and :math:`s` on one scale, shape (cell, gene); genes with any NaN are left out.
    expression
        What the encoder saw.
    encoder
        :math:`E`, in double precision.
    genes
        Columns of `velocity` in the order of the encoder's genes.
    batch
        Number of each cell's batch, shape (cell,).

    Returns
    -------
    tuple
        :math:`\dot z` (cell, latent) and :math:`\dot x` (cell, encoder gene), zero for genes left out.
    """
    v, s = velocity[:, genes], abundance[:, genes]
    fitted = np.isfinite(v).all(0)
    if not fitted.any():
        raise EvidenceError("Every velocity gene is NaN. Recompute with scnode.pp.velocity(adata).")
    if not fitted.all():
        logger.info("%d of %d velocity genes hold NaN and are left out.", (~fitted).sum(), len(fitted))
    c = _scale(expression.matrix[:, genes], s)
    total = s[:, fitted].sum(1, keepdims=True)
    gained = v[:, fitted].sum(1, keepdims=True)
    growth = np.divide(gained, total, out=np.zeros_like(total), where=total > 0)
    rate = np.where(fitted, c * (v - s * growth) / (1 + c * s), 0)
    return encode_velocity(encoder, np.log1p(c * s), rate, batch=batch), rate


def _scale(logarithms: sp.csr_matrix | Chunks, abundance: np.ndarray) -> float:
    """Factor from the smoothed abundance to the linear scale of the encoder's input."""
    linear = np.concatenate([np.asarray(block.expm1().sum(1)).ravel() for block in blocks_of(logarithms)])
    total = abundance.sum(1)
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
    # Means over all of few cells are equal, and leave no direction in which cells lie.
    near = neighbors.first(min(n_smooth, max(2, len(latent) // 4)))
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


def tangent_among(
    told: np.ndarray,
    latent: np.ndarray,
    velocity: np.ndarray,
    neighbors: Neighbors,
    crowd: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The same where only some cells have a velocity, from those alone: zero with infinite error for the others.

    Only cells with one label of `crowd` (cell,) are averaged.
    """
    if told.all():
        return tangent_velocity(latent, velocity, neighbors)
    kept, se = np.zeros_like(velocity), np.full(len(velocity), np.inf)
    label = np.zeros(int(told.sum())) if crowd is None else crowd[told]
    own = Neighbors.among(latent[told], label, k=neighbors.index.shape[1])
    kept[told], se[told] = tangent_velocity(latent[told], velocity[told], own)
    return kept, se
