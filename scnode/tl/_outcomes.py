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

    before, after = (label_states(latent, terminal, arm) for arm in (control, perturbed))
    far = Support(latent).misses(perturbed)
    rng = np.random.default_rng(0)
    n, m = before.shape
    starts = rng.integers(n, size=(n, _N_RESAMPLES))
    picks = rng.integers(m, size=(_N_RESAMPLES, m))
    members = np.stack([np.bincount(pick, minlength=m) for pick in picks], axis=1) / m
    rows = []
    for fate in np.unique(terminal[terminal != ""]):
        here = after == fate
        rows.append(
            {
                "fate": fate,
                "control": (before == fate).mean(),
                "perturbed": here.mean(),
                **_change(before == fate, here, starts, members),
                "ood": far[here].mean() if here.any() else 0.0,
            }
        )
    table = pd.DataFrame(rows)
    table["qvalue"] = false_discovery_control(table["qvalue"])
    return table


def _change(before: np.ndarray, after: np.ndarray, starts: np.ndarray, members: np.ndarray) -> dict[str, float]:
    """log2 fold change of a share with its interval, and the p value, still to be corrected, as `qvalue`.

    `before` and `after` are (start, member); `starts` (start, resample) are row numbers and `members`
    (member, resample) weights.
    """
    # Half a start keeps the logarithm of an empty fate finite.
    half = 0.5 / len(before)
    # Members first: one small matrix product for all resamples instead of gathering every end.
    drawn = [np.take_along_axis(arm @ members, starts, axis=0).mean(0) for arm in (before, after)]
    change = np.log2((drawn[1] + half) / (drawn[0] + half))
    low, high = np.quantile(change, [0.025, 0.975])
    tail = min((change <= 0).sum(), (change >= 0).sum())
    return {
        "log_fold_change": float(np.log2((after.mean() + half) / (before.mean() + half))),
        "ci_low": float(low),
        "ci_high": float(high),
        "qvalue": min(1.0, 2 * (1 + tail) / (1 + len(change))),
    }
