"""Principal components of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._settings import logger
from scnode.data import variable_genes
from scnode.data._chunks import Chunks

if TYPE_CHECKING:
    import scipy.sparse as sp
    from anndata import AnnData

    from scnode.data import Expression
    from scnode.nn import PCA

_ALIKE = "No gene differs between the cells: there is no space to move in. Pass cells that differ."


def principal_components(
    adata: AnnData, expression: Expression, n_latent: int, *, fixed: bool, reuse: bool = True
) -> tuple[PCA, np.ndarray]:
    """The encoder in double precision and its columns; stored loadings that reproduce `X_pca` are used again."""
    import torch

    from scnode.nn import PCA

    found = _stored_loadings(adata, expression, n_latent, fixed=fixed) if reuse else None
    if found is None:
        genes = variable_genes(expression.matrix)
        found = (*loadings(expression.matrix[:, genes], n_latent), genes)
    mean, components, genes = found
    return PCA(torch.from_numpy(mean), torch.from_numpy(components)), genes


def loadings(matrix: sp.csr_matrix | Chunks | np.ndarray, n_latent: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and orthonormal loadings of expression (cell, gene)."""
    import scanpy as sc
    from anndata import AnnData as New

    if isinstance(matrix, Chunks):
        return _loadings_of(matrix, n_latent)
    least, most = (end.toarray() if hasattr(end, "toarray") else end for end in (matrix.min(0), matrix.max(0)))
    if (least == most).all():
        raise ScnodeError(_ALIKE)
    work = New(X=matrix.copy())
    sc.pp.pca(work, n_comps=min(n_latent, min(work.shape) - 1), random_state=0, zero_center=True)
    mean = np.asarray(work.X.mean(0), dtype=np.float64).ravel()
    return mean, np.asarray(work.varm["PCs"], dtype=np.float64)


def _loadings_of(matrix: Chunks, n_latent: int) -> tuple[np.ndarray, np.ndarray]:
    """The same by the covariance of the genes, in two passes over the cells."""
    mean = matrix.mean()
    values, vectors = np.linalg.eigh(matrix.gram() / matrix.shape[0] - np.outer(mean, mean))
    if values[-1] <= 0:
        raise ScnodeError(_ALIKE)
    found = vectors[:, ::-1][:, : min(n_latent, min(matrix.shape) - 1)]
    return mean, found * np.sign(found[np.abs(found).argmax(0), np.arange(found.shape[1])])


def _stored_loadings(
    adata: AnnData, expression: Expression, n_latent: int, *, fixed: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    if "X_pca" not in adata.obsm or "PCs" not in adata.varm:
        return None
    stored, components = np.asarray(adata.obsm["X_pca"]), np.asarray(adata.varm["PCs"], dtype=np.float64)
    if fixed and n_latent > components.shape[1]:
        raise ScnodeError(
            f"n_latent={n_latent} exceeds the {components.shape[1]} stored components. Pass less, or recompute with "
            f"scanpy.pp.pca(adata, n_comps={n_latent})."
        )
    genes = np.flatnonzero(np.abs(components).sum(1) > 0)
    components, stored = components[genes, :n_latent], stored[:, :n_latent]
    matrix = expression.matrix[:, genes]
    mean = np.asarray(matrix.mean(0), dtype=np.float64).ravel()
    again = matrix @ components - mean @ components
    if not np.allclose(again, stored, atol=1e-2 * float(np.abs(stored).max())):
        logger.info("Stored X_pca and PCs do not come from this expression matrix; components are computed anew.")
        return None
    return mean, components, genes
