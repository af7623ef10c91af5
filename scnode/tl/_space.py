"""The latent space of a fit: principal components, or a representation of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._settings import logger
from scnode._validation import check_obsm
from scnode.data import Neighbors, read_expression
from scnode.data._evidence import Space

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode.data import Expression
    from scnode.nn import PCA

_N_LATENT = 20
_N_NEIGHBORS = 150
_N_GENES = 2000


@dataclass(frozen=True)
class FitSpace:
    """Latent states and what places new ones."""

    latent: np.ndarray
    evidence: Space
    encoder: PCA | None = None
    genes: np.ndarray | None = None
    transform: str = "none"
    use_rep: str | None = None


def build_space(adata: AnnData, *, use_rep: str | None, layer: str | None, n_latent: int | None) -> FitSpace:
    """Encode the cells; stored loadings that reproduce the stored components are used again."""
    if n_latent is not None and not 1 <= n_latent < adata.n_obs:
        raise ScnodeError(f"n_latent={n_latent} must be at least 1 and below the {adata.n_obs} cells. Pass less.")
    if use_rep is not None:
        latent = check_obsm(adata, use_rep, argument="use_rep")
        if n_latent is not None and n_latent > latent.shape[1]:
            raise ScnodeError(f"n_latent={n_latent} exceeds the {latent.shape[1]} columns of {use_rep!r}. Pass less.")
        latent = latent[:, :n_latent]
        if latent.shape[1] >= adata.n_obs:
            raise ScnodeError(
                f"{adata.n_obs} cells cannot span the {latent.shape[1]} dimensions of {use_rep!r}. "
                f"Pass n_latent={adata.n_obs - 1} or less, or more cells."
            )
        return FitSpace(latent, Space(latent, _neighbors(latent)), use_rep=use_rep)
    expression = read_expression(adata, layer=layer)
    most = min(adata.n_obs, adata.n_vars) - 1
    if n_latent is not None and n_latent > most:
        raise ScnodeError(f"n_latent={n_latent} exceeds the {most} components at hand. Pass n_latent={most} or less.")
    if most < 1:
        raise ScnodeError(f"adata has shape {adata.shape}: a latent space needs at least 2 cells and 2 genes.")
    mean, components, genes = _loadings(adata, expression, n_latent or min(_N_LATENT, most), fixed=n_latent is not None)
    return _encoded(expression, mean, components, genes)


def _neighbors(latent: np.ndarray) -> Neighbors:
    """Neighbourhoods for evidence: wide enough to average noise out, at most a tenth of the cells."""
    return Neighbors.of(latent, k=int(np.clip(len(latent) // 10, 30, _N_NEIGHBORS)))


def _encoded(expression: Expression, mean: np.ndarray, components: np.ndarray, genes: np.ndarray) -> FitSpace:
    import torch

    from scnode.nn import PCA

    encoder = PCA(*(torch.as_tensor(a, dtype=torch.float32) for a in (mean, components)))
    latent = np.asarray(expression.matrix[:, genes] @ components - mean @ components, dtype=np.float64)
    space = Space(latent, _neighbors(latent), expression, components, genes)
    return FitSpace(latent, space, encoder, expression.genes[genes], expression.transform)


def _loadings(
    adata: AnnData, expression: Expression, n_latent: int, *, fixed: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, orthonormal loadings and the columns they belong to."""
    stored = _stored_loadings(adata, expression, n_latent, fixed=fixed)
    if stored is not None:
        return stored
    import scanpy as sc
    from anndata import AnnData as New

    work = New(X=expression.matrix.copy())
    genes = np.arange(work.n_vars)
    if work.n_vars > _N_GENES:
        work.uns["log1p"] = {"base": None}
        sc.pp.highly_variable_genes(work, n_top_genes=_N_GENES)
        genes = np.flatnonzero(work.var["highly_variable"].to_numpy())
        work = work[:, genes].copy()
    n_latent = min(n_latent, min(work.shape) - 1)
    sc.pp.pca(work, n_comps=n_latent, random_state=0, zero_center=True)
    mean = np.asarray(work.X.mean(0), dtype=np.float64).ravel()
    return mean, np.asarray(work.varm["PCs"], dtype=np.float64), genes


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
