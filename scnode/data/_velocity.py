"""RNA velocity in the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scnode._errors import EvidenceError
from scnode._settings import logger
from scnode._validation import check_layer

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode.data._expression import Expression
    from scnode.data._neighbors import Neighbors

_CHUNK = 2048


def compute_velocity(adata: AnnData, *, n_neighbors: int = 30, n_pcs: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Moments and steady-state velocity by scvelo from ``spliced`` and ``unspliced``.

    scvelo 0.3.4 breaks with NumPy 2.4 in its ``stochastic`` mode (an array of one element assigned to a scalar), so
    its ``deterministic`` mode is used, which does not.

    Returns
    -------
    tuple
        Velocity with NaN for genes without a fit, and the smoothed spliced abundance, both (cell, gene).
    """
    import scanpy as sc
    import scvelo as scv
    from anndata import AnnData as New

    for layer in ("spliced", "unspliced"):
        check_layer(adata, layer)
    layers = {name: sp.csr_matrix(adata.layers[name], dtype=np.float32, copy=True) for name in ("spliced", "unspliced")}
    work = New(X=layers["spliced"].copy(), layers=layers, obs=adata.obs[[]].copy(), var=adata.var[[]].copy())
    before = scv.settings.verbosity
    scv.settings.verbosity = 0
    try:
        scv.pp.normalize_per_cell(work)
        sc.pp.log1p(work)
        sc.pp.pca(work, n_comps=min(n_pcs, min(work.shape) - 1), random_state=0)
        work.obsp.update(_graph(work, k=n_neighbors))
        work.uns["neighbors"] = {
            "connectivities_key": "connectivities",
            "distances_key": "distances",
            "params": {"n_neighbors": n_neighbors, "method": "umap"},
        }
        scv.pp.moments(work, n_neighbors=None, n_pcs=None)
        scv.tl.velocity(work, mode="deterministic")
    finally:
        scv.settings.verbosity = before
    velocity = np.asarray(work.layers["velocity"], dtype=np.float32)
    # scvelo leaves the column out when it holds one value only, that is when every gene passed.
    if "velocity_genes" in work.var:
        velocity[:, ~work.var["velocity_genes"].to_numpy()] = np.nan
    return velocity, np.asarray(work.layers["Ms"], dtype=np.float32)


def _graph(work: AnnData, *, k: int) -> dict[str, sp.csr_matrix]:
    """A symmetric neighbour graph; scanpy's breaks with pynndescent 0.7.0 above 8192 cells."""
    from sklearn.neighbors import kneighbors_graph

    distances = kneighbors_graph(work.obsm["X_pca"], min(k, work.n_obs - 1), mode="distance")
    connectivities = (distances > 0).astype(np.float64)
    return {"distances": distances, "connectivities": sp.csr_matrix(connectivities.maximum(connectivities.T))}


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
