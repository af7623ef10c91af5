"""Fitted against true velocity on simulated bifurcations, beside scVelo and the ceiling that the counts allow."""

from __future__ import annotations

import sys
from collections import defaultdict

import anndata as ad
import numpy as np
import scanpy as sc
import scvelo as scv
from _table import publish

import scnode
from scnode.data import Neighbors

SEEDS = range(5)
N_NEIGHBORS = 30


def main() -> None:
    scnode.settings.verbosity = 1
    scv.settings.verbosity = 0
    shares: dict[str, list[float]] = defaultdict(list)
    ceilings = []
    for seed in SEEDS:
        ceiling, scores = one_seed(seed)
        ceilings.append(ceiling)
        for name, score in scores.items():
            shares[name].append(score / ceiling)
        sys.stderr.write(f"seed {seed} done\n")
    rows = [
        (
            name,
            f"{np.mean(s):.3f}",
            f"{np.std(s, ddof=1):.3f}",
            f"{min(s):.3f}",
            f"{np.mean(s * np.array(ceilings)):.3f}",
        )
        for name, s in shares.items()
    ]
    publish(
        __file__,
        "Velocity on simulated bifurcations",
        ["method", "share of ceiling, mean", "sd", "worst", "cosine, mean"],
        rows,
        "`datasets.bifurcation(n_cells=2500, rng=seed)`, seeds 0 to 4, negative binomial counts. Cosine with the true "
        "velocity in the 20 principal components of the fit, mean over the faster half of the cells. The ceiling is "
        f"the true velocity averaged over {N_NEIGHBORS} neighbours: {np.mean(ceilings):.3f} on average. Pseudotime is "
        "diffusion pseudotime from the truly earliest cell. scVelo's velocities are brought to the components twice: "
        "by its own `velocity_embedding`, and by the chain rule through the logarithm with an average over 30 "
        "neighbours, without the growth term and the filter onto the cells that scnode adds.",
    )


def one_seed(seed: int) -> tuple[float, dict[str, float]]:
    """Ceiling and the mean cosine of every method."""
    adata = scnode.datasets.bifurcation(n_cells=2500, rng=seed)
    scnode.pp.velocity(adata)
    velocities = {}
    velocities["scnode, velocity alone"] = fit(adata, velocity_key="velocity")
    adata.obs["dpt"] = diffusion_pseudotime(adata)
    velocities["scnode, pseudotime alone"] = fit(adata, pseudotime_key="dpt")
    velocities["scnode, both"] = fit(adata, velocity_key="velocity", pseudotime_key="dpt")
    latent = adata.obsm["X_scnode"].astype(float)
    near = Neighbors.of(latent, k=N_NEIGHBORS)
    for mode in ("deterministic", "stochastic", "dynamical"):
        embedded, direct = scvelo(adata, mode, near)
        velocities[f"scVelo {mode}, velocity_embedding"] = embedded
        velocities[f"scVelo {mode}, chain rule"] = direct
    velocities["kNN pseudotime difference"] = pseudotime_difference(latent, adata.obs["dpt"].to_numpy(), near)
    truth = scnode.datasets.true_velocity(adata)
    speed = np.linalg.norm(truth, axis=1)
    fast = speed >= np.median(speed)
    scores = {name: float(np.nanmean(scnode.metrics.cosine(v, truth)[fast])) for name, v in velocities.items()}
    return float(scnode.metrics.cosine(near.mean(truth), truth)[fast].mean()), scores


def fit(adata: ad.AnnData, **evidence: str) -> np.ndarray:
    scnode.tl.fit(adata, **evidence)
    return adata.obsm["velocity_scnode"].copy()


def diffusion_pseudotime(adata: ad.AnnData) -> np.ndarray:
    work = ad.AnnData(obs=adata.obs[[]].copy(), obsm={"X_latent": adata.obsm["X_scnode"]})
    work.uns["iroot"] = int(np.argmin(adata.obs["true_time"]))
    sc.pp.neighbors(work, use_rep="X_latent", transformer="sklearn")
    sc.tl.diffmap(work)
    sc.tl.dpt(work)
    return work.obs["dpt_pseudotime"].to_numpy()


def scvelo(adata: ad.AnnData, mode: str, near: Neighbors) -> tuple[np.ndarray, np.ndarray]:
    """scVelo's velocity in the components of the fit, by its own projection and by the chain rule."""
    work = adata.copy()
    scnode.pp.velocity(work, mode=mode)
    model = scnode.get.model(adata)
    columns, loadings = work.var_names.get_indexer(model.genes), model.encoder.components.numpy()
    work.obsm["X_pca"] = adata.obsm["X_scnode"]
    sc.pp.neighbors(work, use_rep="X_pca", n_neighbors=N_NEIGHBORS, transformer="sklearn")
    scv.tl.velocity_graph(work, n_jobs=1, show_progress_bar=False)
    scv.tl.velocity_embedding(work, basis="pca", autoscale=False)
    velocity, abundance = (np.asarray(work.layers[name])[:, columns] for name in ("velocity", "Ms"))
    fitted = np.isfinite(velocity).all(0)
    scale = 1e4 / abundance.sum(1, keepdims=True)
    direct = (scale * velocity / (1 + scale * abundance))[:, fitted] @ loadings[fitted]
    return np.asarray(work.obsm["velocity_pca"]), near.mean(direct)


def pseudotime_difference(latent: np.ndarray, time: np.ndarray, near: Neighbors) -> np.ndarray:
    """Mean of the later half of the neighbours less that of the earlier half."""
    order = np.argsort(time[near.index], axis=1)
    states = latent[np.take_along_axis(near.index, order, axis=1)]
    half = states.shape[1] // 2
    return states[:, half:].mean(1) - states[:, :half].mean(1)


if __name__ == "__main__":
    main()
