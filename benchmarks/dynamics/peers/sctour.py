"""scTour: its neural ODE on counts, turned where it runs towards the root cell; velocity by its own projection."""

from __future__ import annotations

import anndata as ad
import numpy as np
import scanpy as sc
import sctour as sct


def run(adata: ad.AnnData) -> dict[str, np.ndarray]:
    adata.X = adata.X.astype(np.float32)
    sc.pp.calculate_qc_metrics(adata, percent_top=None, inplace=True)
    model = sct.train.Trainer(adata, loss_mode="nb", random_state=int(adata.uns["seed"]), use_gpu=False)
    model.train()
    time = model.get_time()
    backwards = bool(time[int(adata.uns["iroot"])] > np.median(time))
    latent = model.get_latentsp(alpha_z=0.5, alpha_predz=0.5)[0]
    adata.obsm["X_TNODE"], adata.obsm["X_VF"] = latent, model.get_vector_field(time, latent)
    adata.obsp["directions"] = sct.vf.cosine_similarity(
        adata, zs_key="X_TNODE", vf_key="X_VF", use_rep_neigh="X_TNODE", reverse=backwards
    )
    velocity = sct.vf.vector_field_embedding(adata, T_key="directions", E_key="X_pca")
    return {"velocity_pca": np.asarray(velocity), "time": -time.astype(float) if backwards else time.astype(float)}
