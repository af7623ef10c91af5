"""Fates from the ends of stochastic trajectories, beside the committor and the flow without noise."""

from __future__ import annotations

import sys

import anndata as ad
import numpy as np
from _table import publish
from fate import score

import scnode
from scnode.tl._outcomes import group_shares

SEED, N_CELLS, N_SAMPLES = 100, 200, 20


def main() -> None:
    scnode.settings.verbosity = 0
    rows = []
    for simulation in ("bifurcation", "branching"):
        rows += [(simulation, name, f"{c:.2f}", f"{e:.2f}") for name, (c, e) in one_simulation(simulation).items()]
        sys.stderr.write(f"{rows[-3:]}\n")
    publish(
        __file__,
        "Fates from stochastic trajectories",
        ["simulation", "method", "correlation", "rmse"],
        rows,
        f"`datasets.bifurcation` and `datasets.branching` with `n_futures=100`, seed {SEED}, 2500 cells; "
        f"`tl.fit(noise=True, n_members=3, max_epochs=80)` on RNA velocity. {N_CELLS} undecided cells, scored as in "
        f"`benchmarks/fate.py`; ends of one flow or of {N_SAMPLES} stochastic trajectories a cell after two units of "
        "the clock, each with the shares of the groups among its 15 nearest terminal cells.",
    )


def one_simulation(simulation: str) -> dict[str, tuple[float, float]]:
    """Correlation and root mean square error of every method."""
    adata = getattr(scnode.datasets, simulation)(n_futures=100, rng=SEED)
    truth = adata.obsm["true_fate_probability"]
    known = truth.to_numpy()
    undecided = (known >= 0.1) & (known <= 0.9)
    end = adata.obs["clusters"].astype(str)
    terminal = end.where(end.isin(truth.columns) & ~undecided.any(1))
    adata.obs["end"] = terminal
    scnode.tl.fit(adata, noise=True, n_members=3, max_epochs=80)
    scnode.tl.fate(adata, groupby="end")
    rows = np.flatnonzero(undecided.any(1))
    rows = np.random.default_rng(0).permutation(rows)[:N_CELLS]
    found = {
        "tl.fate": adata.obsm["scnode_fate"][list(truth.columns)].to_numpy()[rows],
        "ends of the flow": ends(adata, terminal.fillna("").to_numpy(str), rows, noise=False),
        "ends of stochastic trajectories": ends(adata, terminal.fillna("").to_numpy(str), rows, n_samples=N_SAMPLES),
    }
    chosen = undecided[rows]
    return {name: score(values[chosen], known[rows][chosen]) for name, values in found.items()}


def ends(adata: ad.AnnData, terminal: np.ndarray, rows: np.ndarray, **options: object) -> np.ndarray:
    """Shares of the groups, which are in alphabetical order as the columns of the truth are."""
    scnode.tl.trajectories(adata, start=list(adata.obs_names[rows]), t=2.0, n_steps=2, **options)
    states = adata.uns["scnode"]["trajectories"]["latent"][:, :, -1].astype(float)
    return group_shares(adata.obsm["X_scnode"], terminal, states).mean(1)


if __name__ == "__main__":
    main()
