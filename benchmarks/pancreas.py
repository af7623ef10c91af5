"""Direction of the latent velocity along the known order of the pancreas, and where trajectories from Ductal end."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import scanpy as sc
import scvelo as scv
from _table import publish

import scnode
from scnode.data import Neighbors, Support

FILES = {"739 cells": "pancreas_739cells_7192genes.h5ad", "3696 cells": "pancreas_endocrinogenesis.h5ad"}
EDGES = [
    ("Ductal", "Ngn3 low EP"),
    ("Ngn3 low EP", "Ngn3 high EP"),
    ("Ngn3 high EP", "Pre-endocrine"),
    ("Pre-endocrine", "Alpha"),
    ("Pre-endocrine", "Beta"),
    ("Pre-endocrine", "Delta"),
    ("Pre-endocrine", "Epsilon"),
]
ENDOCRINE = {"Pre-endocrine", "Alpha", "Beta", "Delta", "Epsilon"}


def main() -> None:
    scnode.settings.verbosity = 1
    scv.settings.verbosity = 0
    folder = Path(os.environ["SCNODE_DATA"])
    rows, notes = [], []
    for label, name in FILES.items():
        adata = ad.read_h5ad(folder / name)
        began = time.perf_counter()
        scnode.tl.fit(adata)
        took = time.perf_counter() - began
        ours, theirs = adata.obsm["velocity_scnode"], scvelo_velocity(adata)
        for edge in EDGES:
            n, scores = edge_scores(adata, edge, (ours, theirs))
            rows.append((label, " → ".join(edge), n, *scores))
        ends = {t: end_shares(adata, t) for t in (1.0, 2.0)}
        told = "; ".join(
            f"t = {t:g}: " + ", ".join(f"{group} {share:.0%}" for group, share in shares.items())
            for t, shares in ends.items()
        )
        endocrine = sum(share for group, share in ends[2.0].items() if group in ENDOCRINE)
        notes.append(
            f"{label}: {endocrine:.0%} of the trajectories from Ductal end among endocrine cells at t = 2 ({told}). "
            f"The fit took {took:.0f} s."
        )
        sys.stderr.write(f"{label} done\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    publish(
        __file__,
        "Pancreas endocrinogenesis, defaults only",
        ["data", "edge", "cells", "scnode [95 %]", "scVelo [95 %]"],
        rows,
        "Mean cosine of a cell's velocity with the displacement to those of its 30 nearest cells, in the components of "
        "the fit, that are of the next type, over the cells that have such; with its bootstrap interval. scVelo is its "
        "deterministic mode, projected by `velocity_embedding` to the same components. Arrows that are wrong can score "
        "well here: read it as a sign.\n\n"
        "Time is in units of the clock; an end belongs to the type that most of its 15 nearest cells have.\n\n"
        + "\n\n".join(notes)
        + f"\n\nPeak memory of the whole script, scVelo included: {peak:.1f} GiB.",
    )


def scvelo_velocity(adata: ad.AnnData) -> np.ndarray:
    """scVelo's own velocity in the components of the fit."""
    work = adata.copy()
    scnode.pp.velocity(work)
    work.obsm["X_pca"] = adata.obsm["X_scnode"]
    sc.pp.neighbors(work, use_rep="X_pca", n_neighbors=30, transformer="sklearn")
    scv.tl.velocity_graph(work, n_jobs=1, show_progress_bar=False)
    scv.tl.velocity_embedding(work, basis="pca", autoscale=False)
    return np.asarray(work.obsm["velocity_pca"])


def edge_scores(adata: ad.AnnData, edge: tuple[str, str], velocities: tuple[np.ndarray, ...]) -> tuple[int, list[str]]:
    """Number of cells and, for each velocity, mean cosine towards the next type with its interval."""
    latent = adata.obsm["X_scnode"].astype(float)
    groups = adata.obs["clusters"].to_numpy(dtype=str)
    near = Neighbors.of(latent, k=31).index[:, 1:]
    here, there = edge
    cells = [i for i in np.flatnonzero(groups == here) if (groups[near[i]] == there).any()]
    told = []
    for velocity in velocities:
        values = []
        for i in cells:
            ahead = near[i][groups[near[i]] == there]
            move = latent[ahead] - latent[i]
            values.append(scnode.metrics.cosine(move, np.broadcast_to(velocity[i], move.shape)).mean())
        told.append("{:.2f} [{:.2f}, {:.2f}]".format(*scnode.metrics.bootstrap_mean(values)))
    return len(cells), told


def end_shares(adata: ad.AnnData, t: float) -> dict[str, float]:
    """Share of the trajectories from Ductal that end among each type."""
    out = scnode.tl.trajectories(adata, start={"clusters": ["Ductal"]}, t=t, n_steps=2, copy=True)
    ends = out.uns["scnode"]["trajectories"]["latent"][:, 0, -1]
    latent, groups = adata.obsm["X_scnode"], adata.obs["clusters"].to_numpy(dtype=str)
    names, code = np.unique(groups, return_inverse=True)
    nearest = Support(latent).nearest(ends)[1]
    votes = np.stack([(code[nearest] == i).sum(1) for i in range(len(names))], axis=1).argmax(1)
    share = np.bincount(votes, minlength=len(names)) / len(ends)
    return {str(name): float(s) for name, s in zip(names, share, strict=True) if s > 0}


if __name__ == "__main__":
    main()
