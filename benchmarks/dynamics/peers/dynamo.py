"""dynamo: stochastic kinetics, its vector field in the given components, and the potential of that as time."""

from __future__ import annotations

import anndata as ad
import dynamo as dyn
import numpy as np


def run(adata: ad.AnnData) -> dict[str, np.ndarray]:
    components = np.array(adata.obsm["X_pca"])
    del adata.obsm["X_pca"], adata.varm["PCs"]
    dyn.pp.Preprocessor(cell_cycle_score_enable=False).preprocess_adata(adata, recipe="monocle")
    dyn.tl.dynamics(adata, model="stochastic", cores=1)
    adata.obsm["X_pca"] = components
    dyn.tl.neighbors(adata, X_data=components)
    dyn.tl.cell_velocities(adata, basis="pca")
    dyn.vf.VectorField(adata, basis="pca", cores=1)
    dyn.ext.ddhodge(adata, basis="pca")
    velocity = adata.layers["velocity_S"].toarray().astype(float)
    velocity[:, ~adata.var["use_for_dynamics"].to_numpy(dtype=bool)] = np.nan
    return {
        "velocity_pca": np.asarray(adata.obsm["velocity_pca_SparseVFC"]),
        "velocity_genes": velocity,
        "abundance": adata.layers["M_s"].toarray().astype(float),
        "time": adata.obs["pca_ddhodge_potential"].to_numpy(dtype=float),
    }
