"""veloVI as its tutorial runs it: moments scaled to the unit interval, genes that the steady state fits, 25 samples."""

from __future__ import annotations

import anndata as ad
import numpy as np
import scvelo as scv
import scvi
from _scvelo_steps import embedded, moments
from scvi.external import VELOVI

SPAN = 20


def run(adata: ad.AnnData) -> dict[str, np.ndarray]:
    scvi.settings.seed = int(adata.uns["seed"])
    work = moments(adata)
    abundance = np.array(work.layers["Ms"], dtype=float)
    for layer in ("Ms", "Mu"):
        work.layers[layer] = to_unit(work.layers[layer])
    kept = fitted(work)
    work = work[:, kept].copy()
    work.layers["velocity"] = train(work)
    unscaled = np.full(abundance.shape, np.nan)
    unscaled[:, kept] = work.layers["velocity"] * np.ptp(abundance[:, kept], axis=0)
    found = {"velocity_pca": embedded(work), "velocity_genes": unscaled, "abundance": abundance}
    scv.tl.velocity_pseudotime(work)
    return {**found, "time": work.obs["velocity_pseudotime"].to_numpy()}


def to_unit(values: np.ndarray) -> np.ndarray:
    low, span = values.min(0), np.ptp(values, axis=0)
    return (values - low) / np.where(span > 0, span, 1)


def fitted(work: ad.AnnData) -> np.ndarray:
    """Genes whose steady state explains something, as veloVI's preprocessing keeps them."""
    scv.tl.velocity(work, mode="deterministic")
    return (work.var[["velocity_gamma", "velocity_r2"]] > 0).all(axis=1).to_numpy()


def train(work: ad.AnnData) -> np.ndarray:
    """Velocity on the time on which the latest cell of every gene is at 20."""
    VELOVI.setup_anndata(work, spliced_layer="Ms", unspliced_layer="Mu")
    model = VELOVI(work)
    model.train(accelerator="cpu", enable_progress_bar=False)
    time = model.get_latent_time(n_samples=25, return_numpy=True)
    velocity = model.get_velocity(n_samples=25, velo_statistic="mean", return_numpy=True)
    return velocity * time.max(0) / SPAN
