"""scVelo in one of its modes, with latent time in the dynamical one and velocity pseudotime in the others."""

from __future__ import annotations

import anndata as ad
import numpy as np
import scvelo as scv
from _scvelo_steps import embedded, genes, moments, velocity


def run(adata: ad.AnnData, mode: str) -> dict[str, np.ndarray]:
    work = moments(adata)
    velocity(work, mode)
    found = {"velocity_pca": embedded(work), **genes(work)}
    if mode == "dynamical":
        scv.tl.latent_time(work)
        return {**found, "time": work.obs["latent_time"].to_numpy()}
    scv.tl.velocity_pseudotime(work)
    return {**found, "time": work.obs["velocity_pseudotime"].to_numpy()}
