"""The screen of all genes beside holding each of them in full, and what both take."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
from _knockouts import UNDECIDED
from _table import publish
from scipy.stats import spearmanr

import scnode

SIMULATIONS, SEEDS = ("bifurcation", "branching"), (301, 302, 303)
N_CELLS, N_BEST = 1200, 10
MANY_CELLS, MANY_GENES, N_STARTS = 3000, 2000, 1000
COLUMNS = [
    "simulation",
    "seed",
    "genes",
    "rho of the shift",
    "rho of the first order",
    f"of the {N_BEST} of most effect, in the first {2 * N_BEST}",
    "CPU s, screen",
    "CPU s, each in full",
]


def main() -> None:
    scnode.settings.verbosity = 0
    rows: list[list[object]] = []
    for simulation in SIMULATIONS:
        for seed in SEEDS:
            rows.append([simulation, seed, *compared(fitted(simulation, seed))])
            sys.stderr.write(f"{simulation}, seed {seed} done\n")
    publish(__file__, "The screen beside every gene held in full", COLUMNS, rows, f"{NOTES}\n\n{durations()}")


def fitted(simulation: str, seed: int, **sizes: int) -> tuple[ad.AnnData, dict[str, Any]]:
    """Wild-type cells with a field, and the fates that are asked about."""
    adata = getattr(scnode.datasets, simulation)(**{"n_cells": N_CELLS, **sizes}, rng=seed)
    scnode.pp.velocity(adata)
    scnode.tl.fit(adata, velocity_key="velocity")
    return adata, {"groupby": "clusters", "groups": sorted(set(adata.obs["clusters"]) - UNDECIDED)}


def compared(case: tuple[ad.AnnData, dict[str, Any]]) -> list[str]:
    """Ranks of the screen against those of every gene held along all trajectories, largest shift of a fate."""
    adata, fates = case
    screening = spent(lambda: scnode.tl.screen(adata, n_verified=0, **fates))
    table = scnode.get.screen(adata)
    told = table.set_index("gene")[["shift", "score"]].abs().groupby("gene").max()
    full = pd.Series(0.0, index=told.index)
    holding = spent(lambda: full.update({gene: held(adata, gene, fates) for gene in told.index}))
    listed = list(dict.fromkeys(table["gene"]))[: 2 * N_BEST]
    best = full.sort_values(ascending=False).index[:N_BEST]
    shift, score = (spearmanr(told[name], full[told.index])[0] for name in ("shift", "score"))
    share = f"{len(set(best) & set(listed))} of {N_BEST}"
    return [str(len(full)), f"{shift:.2f}", f"{score:.2f}", share, f"{screening:.1f}", f"{holding:.0f}"]


def held(adata: ad.AnnData, gene: str, fates: dict[str, Any]) -> float:
    """Largest change of the share of a fate without the gene."""
    scnode.tl.perturb(adata, {gene: 0.0}, n_null=0, name="now", overwrite=True, **fates)
    table = scnode.get.perturbation(adata, "now")
    return float((table["perturbed"] - table["control"]).abs().max())


def spent(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Seconds of a clock, by default CPU seconds of the process."""
    begin = clock()
    work()
    return clock() - begin


def durations() -> str:
    """What the screen of many genes and one perturbation of many cells take, medians of five."""
    adata, fates = fitted("bifurcation", SEEDS[0], n_cells=MANY_CELLS, n_genes=MANY_GENES)
    torch.set_num_threads(os.cpu_count() or 1)
    model = scnode.get.model(adata)
    some = adata.obs_names[np.linspace(0, adata.n_obs - 1, N_STARTS).astype(int)].tolist()
    one = partial(scnode.tl.perturb, adata, {model.genes[0]: 0.0}, start=some, name="one", overwrite=True, **fates)
    works = {
        f"`tl.screen` of {len(model.genes)} genes with 20 of them held in full": partial(
            scnode.tl.screen, adata, **fates
        ),
        f"`tl.perturb` of {N_STARTS} cells with {model.field.n_members} members": partial(one, n_null=0),
        "the same with its matched null": one,
    }
    told = []
    for name, work in works.items():
        passed = np.median([spent(work, time.perf_counter) for _ in range(5)])
        told.append(f"{name}, {passed:.1f} s")
    with_what = f"{MANY_CELLS} cells, {torch.get_num_threads()} threads, on the clock as the machine was shared"
    return f"{with_what}, medians of five: {'; '.join(told)}."


NOTES = (
    f"`datasets.bifurcation` and `datasets.branching`, {N_CELLS} cells, `tl.fit(velocity_key='velocity')`, every gene "
    "of the model at nothing, from the earliest tenth of the cells over one unit of the clock. In full: `tl.perturb("
    "n_null=0)`, all members from all start cells. `tl.screen(n_verified=0)` holds along at most one trajectory in "
    "fifty of these, and ranks by `shift`; the first order is its `score`. Spearman's correlations are those of the "
    "largest absolute effect on a fate. The list has genes that no state near the cells has at this level last, "
    "whatever their effect, which `tl.perturb` flags and does not leave out."
)

if __name__ == "__main__":
    main()
