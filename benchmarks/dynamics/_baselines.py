"""Floors and ceilings, from the same file or from the truth."""

from __future__ import annotations

import anndata as ad
import numpy as np
import scanpy as sc
from _data import Case

from scnode.data import Neighbors

N_NEIGHBORS = 30


def ceiling(case: Case) -> dict[str, np.ndarray]:
    """The truth averaged over the neighbours that the counts give each cell."""
    near = neighbors(case)
    kinds = ("velocity_pca", "velocity_log")
    return {kind: near.mean(case.truth[kind]) for kind in kinds}


def pseudotime_difference(case: Case) -> dict[str, np.ndarray]:
    """Mean of the later half of the neighbours less that of the earlier half, by diffusion pseudotime."""
    near, time = neighbors(case), diffusion_pseudotime(case)
    return {"time": time, "velocity_pca": difference(case.seen.obsm["X_pca"], time, near)}


def day_difference(case: Case) -> dict[str, np.ndarray]:
    """The same over ten times the neighbours by day, which is the only time that a time course gives."""
    near = neighbors(case, 10 * N_NEIGHBORS)
    time = case.seen.obs["day"].to_numpy()
    return {"velocity_pca": difference(case.seen.obsm["X_pca"], time, near)}


def neighbors(case: Case, k: int = N_NEIGHBORS) -> Neighbors:
    return Neighbors.of(case.seen.obsm["X_pca"], k=k)


def difference(states: np.ndarray, time: np.ndarray, near: Neighbors) -> np.ndarray:
    order = np.argsort(time[near.index], axis=1, kind="stable")
    sorted_states = states[np.take_along_axis(near.index, order, axis=1)]
    half = sorted_states.shape[1] // 2
    return sorted_states[:, half:].mean(1) - sorted_states[:, :half].mean(1)


def diffusion_pseudotime(case: Case) -> np.ndarray:
    work = ad.AnnData(obsm={"X_pca": case.seen.obsm["X_pca"]})
    work.uns["iroot"] = int(case.seen.uns["iroot"])
    sc.pp.neighbors(work, use_rep="X_pca", transformer="sklearn")
    sc.tl.diffmap(work)
    sc.tl.dpt(work)
    return work.obs["dpt_pseudotime"].to_numpy()


def fate_by_pseudotime(case: Case) -> dict[str, np.ndarray]:
    """Each cell takes the mean of its nearest later cells, latest first; labelled cells keep their label."""
    groups, known = labels(case)
    states, time = case.seen.obsm["X_pca"], diffusion_pseudotime(case)
    share = known.copy()
    order = np.argsort(-time, kind="stable")
    for place, cell in enumerate(order):
        if known[cell].any():
            continue
        # Cells after which there is no label yet look to the labelled ones.
        after = order[:place][share[order[:place]].any(1)]
        after = after if len(after) else np.flatnonzero(known.any(1))
        share[cell] = share[nearest(states[after], states[cell], after)].mean(0)
    return {"fate": share, "fate_groups": groups}


def fate_by_neighbors(case: Case) -> dict[str, np.ndarray]:
    """Shares of the labels among the nearest labelled cells."""
    groups, known = labels(case)
    states, labelled = case.seen.obsm["X_pca"], np.flatnonzero(known.any(1))
    share = np.stack([known[nearest(states[labelled], state, labelled)].mean(0) for state in states])
    return {"fate": share, "fate_groups": groups}


def fate_of_neighbors(case: Case) -> dict[str, np.ndarray]:
    """The true probabilities averaged over the neighbours that the counts give each cell."""
    share = neighbors(case).mean(case.truth["fate_probability"])
    return {"fate": share, "fate_groups": case.truth["fate_groups"]}


def nearest(candidates: np.ndarray, state: np.ndarray, rows: np.ndarray, k: int = N_NEIGHBORS) -> np.ndarray:
    return rows[np.argsort(((candidates - state) ** 2).sum(1))[:k]]


def labels(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Names of the fates, and one column each for the cells that are labelled."""
    terminal = case.seen.obs["terminal"].astype(str).to_numpy()
    groups = np.unique(terminal[terminal != ""])
    return groups, (terminal[:, None] == groups).astype(float)
