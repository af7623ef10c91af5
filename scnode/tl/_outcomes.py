"""Which terminal group end states belong to, and how two arms differ in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._validation import near
from scnode.data import Support

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_N_VOTES = 15
_N_RESAMPLES = 1000


def terminal_groups(adata: AnnData, groupby: str, groups: Sequence[str] | None) -> np.ndarray:
    """Terminal group of each cell, empty where it has none."""
    if groupby not in adata.obs:
        raise ScnodeError(f"adata.obs[{groupby!r}] not found. {near(groupby, adata.obs.columns)} Pass groupby=.")
    labels = adata.obs[groupby].astype(str).to_numpy(dtype=str)
    present = sorted(set(labels))
    for group in groups or []:
        if str(group) not in present:
            raise ScnodeError(f"{group!r} is no group of adata.obs[{groupby!r}]. {near(group, present)} Pass groups=.")
    wanted = present if groups is None else [str(g) for g in groups]
    return np.where(np.isin(labels, wanted), labels, "")


def label_states(latent: np.ndarray, terminal: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Group that most of the nearest terminal cells of each state (..., latent) have."""
    from sklearn.neighbors import NearestNeighbors

    cells = np.flatnonzero(terminal != "")
    names, code = np.unique(terminal[cells], return_inverse=True)
    search = NearestNeighbors(n_neighbors=min(_N_VOTES, len(cells))).fit(latent[cells])
    nearest = search.kneighbors(states.reshape(-1, latent.shape[1]), return_distance=False)
    votes = np.stack([(code[nearest] == i).sum(1) for i in range(len(names))], axis=1)
    return names[votes.argmax(1)].reshape(states.shape[:-1])


def outcome_table(latent: np.ndarray, terminal: np.ndarray, control: np.ndarray, perturbed: np.ndarray) -> pd.DataFrame:
    """One row a fate: shares of both arms, log2 fold change with its bootstrap interval, q value, share off the data.

    Start cells and ensemble members are resampled together; the p value is the bootstrap's two-sided sign test, and q
    values are Benjamini and Hochberg's over the fates.
    """
    import pandas as pd
    from scipy.stats import false_discovery_control

    ends = [label_states(latent, terminal, arm) for arm in (control, perturbed)]
    far = Support(latent).misses(perturbed)
    rng = np.random.default_rng(0)
    n, m = ends[0].shape
    rows, members = rng.integers(n, size=(_N_RESAMPLES, n)), rng.integers(m, size=(_N_RESAMPLES, m))
    half = 0.5 / n
    table = []
    for fate in np.unique(terminal[terminal != ""]):
        hits = [(arm == fate).astype(float) for arm in ends]
        before, after = (h.mean() for h in hits)
        # The mean over resampled members first: one small matrix product per resample instead of a full gather.
        weights = np.stack([np.bincount(pick, minlength=m) for pick in members]) / m
        drawn = [np.take_along_axis(h @ weights.T, rows.T, axis=0).mean(0) for h in hits]
        change = np.log2((drawn[1] + half) / (drawn[0] + half))
        tail = min((change <= 0).sum(), (change >= 0).sum())
        low, high = np.quantile(change, [0.025, 0.975])
        p = min(1.0, 2 * (1 + tail) / (1 + _N_RESAMPLES))
        reached = far[ends[1] == fate]
        table.append(
            (
                fate,
                before,
                after,
                np.log2((after + half) / (before + half)),
                low,
                high,
                p,
                float(reached.mean()) if reached.size else 0.0,
            )
        )
    columns = ["fate", "control", "perturbed", "log_fold_change", "ci_low", "ci_high", "pvalue", "ood"]
    frame = pd.DataFrame(table, columns=columns)
    frame.insert(6, "qvalue", false_discovery_control(frame["pvalue"]))
    return frame.drop(columns="pvalue")
