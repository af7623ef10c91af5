"""Fate probabilities of undecided cells against those of their noisy continuations, beside what the counts allow."""

from __future__ import annotations

import sys
from collections import defaultdict

import anndata as ad
import numpy as np
import scipy.sparse as sp
from _table import publish
from scipy.sparse.linalg import spsolve
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import NearestNeighbors

import scnode

SEEDS = range(104, 108)
SIMULATIONS = ("bifurcation", "branching")


def main() -> None:
    scnode.settings.verbosity = 0
    rows = []
    for simulation in SIMULATIONS:
        scores: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for seed in SEEDS:
            for name, score in one_seed(simulation, seed).items():
                scores[name].append(score)
            sys.stderr.write(f"{simulation}, seed {seed} done\n")
        rows += [(simulation, name, *summary(values)) for name, values in scores.items()]
    publish(
        __file__,
        "Fate probabilities on simulated decisions",
        ["simulation", "method", "correlation, mean", "worst", "rmse, mean"],
        rows,
        f"`datasets.bifurcation` and `datasets.branching` with `n_futures=100`, seeds {SEEDS[0]} to {SEEDS[-1]}, 2500 "
        "cells, negative binomial counts of 500 molecules a cell. Over all pairs of a cell and a fate whose true "
        "probability lies between 0.1 and 0.9; terminal groups are the decided cells of each fate's cluster alone. The "
        "last two rows of each simulation are no competitors but bounds: regressions of the true probabilities "
        "themselves on the cells, five-fold, the better of ridge regression and a random forest.",
    )


def summary(values: list[tuple[float, float]]) -> tuple[str, str, str]:
    correlation, error = np.array(values).T
    return f"{correlation.mean():.3f}", f"{correlation.min():.3f}", f"{error.mean():.3f}"


def one_seed(simulation: str, seed: int) -> dict[str, tuple[float, float]]:
    """Correlation and root mean square error of every method."""
    adata = getattr(scnode.datasets, simulation)(n_futures=100, rng=seed)
    truth = adata.obsm["true_fate_probability"]
    known = truth.to_numpy()
    undecided = (known >= 0.1) & (known <= 0.9)
    end = adata.obs["clusters"].astype(str)
    adata.obs["end"] = end.where(end.isin(truth.columns) & ~undecided.any(1))
    scnode.tl.fit(adata)
    order = list(truth.columns)
    found = {
        "tl.fate": fates(adata, order),
        "tl.fate, t=2 (flow of every member)": fates(adata, order, t=2.0),
        "absorption of tl.transition_matrix": absorption(adata, order),
        "30 nearest terminal cells": nearest(adata, order),
        "regression on the counts": regression(logarithms(adata, "spliced", "unspliced"), known, undecided),
        "regression on the true abundances": regression(np.log1p(adata.layers["true_spliced"]), known, undecided),
    }
    return {name: score(values[undecided], known[undecided]) for name, values in found.items()}


def score(found: np.ndarray, known: np.ndarray) -> tuple[float, float]:
    return float(np.corrcoef(found, known)[0, 1]), float(np.sqrt(((found - known) ** 2).mean()))


def fates(adata: ad.AnnData, order: list[str], **options: float) -> np.ndarray:
    scnode.tl.fate(adata, groupby="end", **options)
    return adata.obsm["scnode_fate"][order].to_numpy()


def labels(adata: ad.AnnData, order: list[str]) -> np.ndarray:
    return (adata.obs["end"].to_numpy()[:, None] == np.array(order)).astype(float)


def absorption(adata: ad.AnnData, order: list[str]) -> np.ndarray:
    """Exact absorption probabilities of the chain."""
    scnode.tl.transition_matrix(adata)
    chain, known = adata.obsp["T_fwd"], labels(adata, order)
    live = np.flatnonzero(known.sum(1) == 0)
    known[live] = spsolve((sp.identity(len(live)) - chain[live][:, live]).tocsc(), chain[live] @ known)
    return known


def nearest(adata: ad.AnnData, order: list[str]) -> np.ndarray:
    known, latent = labels(adata, order), adata.obsm["X_scnode"]
    done = known.sum(1) > 0
    index = NearestNeighbors(n_neighbors=30).fit(latent[done]).kneighbors(latent, return_distance=False)
    return known[done][index].mean(1)


def logarithms(adata: ad.AnnData, *layers: str) -> np.ndarray:
    parts = [adata.layers[name].toarray() for name in layers]
    return np.concatenate([np.log1p(part / part.sum(1, keepdims=True) * 1e4) for part in parts], axis=1)


def regression(cells: np.ndarray, known: np.ndarray, undecided: np.ndarray) -> np.ndarray:
    """Predictions of the truth for cells left out of the regression."""
    rows = undecided.any(1)
    tries = []
    for model in (RidgeCV(np.logspace(0, 6, 13)), RandomForestRegressor(100, min_samples_leaf=5, random_state=0)):
        values = np.zeros_like(known)
        values[rows] = cross_val_predict(model, cells[rows], known[rows], cv=5)
        tries.append(values)
    return max(tries, key=lambda values: score(values[undecided], known[undecided])[0])


if __name__ == "__main__":
    main()
