"""The steps of scVelo that its own adapter shares with those built on it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import scanpy as sc
import scvelo as scv

scv.settings.verbosity = 0


def moments(adata: ad.AnnData) -> ad.AnnData:
    """Size-normalised counts and their moments over 30 neighbours in the given components."""
    scv.pp.normalize_per_cell(adata)
    sc.pp.log1p(adata)
    sc.pp.neighbors(adata, n_neighbors=30, use_rep="X_pca")
    scv.pp.moments(adata, n_neighbors=None, n_pcs=None)
    return adata


def velocity(adata: ad.AnnData, mode: str) -> None:
    if mode == "dynamical":
        scv.tl.recover_dynamics(adata, n_jobs=1, show_progress_bar=False)
    scv.tl.velocity(adata, mode=mode)


def embedded(adata: ad.AnnData) -> np.ndarray:
    """Velocity in the given components by scVelo's own projection."""
    scv.tl.velocity_graph(adata, n_jobs=1, show_progress_bar=False)
    scv.tl.velocity_embedding(adata, basis="pca", autoscale=False)
    return np.asarray(adata.obsm["velocity_pca"])


def genes(adata: ad.AnnData) -> dict[str, np.ndarray]:
    """Velocity and abundance of all genes, NaN where scVelo has no fit."""
    velocity = np.array(adata.layers["velocity"], dtype=float)
    # scVelo leaves the column out when every gene passed.
    if "velocity_genes" in adata.var:
        velocity[:, ~adata.var["velocity_genes"].to_numpy(dtype=bool)] = np.nan
    return {"velocity_genes": velocity, "abundance": np.asarray(adata.layers["Ms"], dtype=float)}
