"""Which terminal group end states belong to, and how two arms differ in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._validation import near
from scnode.data import Support
from scnode.model import stored_result

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scnode._keys import Keys

_N_VOTES = 15
_RIVALS = 2


def terminal_groups(adata: AnnData, keys: Keys, groupby: str | None, groups: Sequence[str] | None) -> np.ndarray | None:
    """Terminal group of each cell, empty where it has none; of the last `tl.fate` where no groupby is given."""
    if groupby is None:
        with stored_result(adata, keys.uns, "fate", by="scnode.tl.fate(adata, groupby=)") as last:
            if last is None:
                if groups is not None:
                    raise ScnodeError(f"groups={groups!r} are of no column. Pass groupby=.")
                return None
            groupby, groups = last["groupby"], list(last["groups"]) if groups is None else groups
    return named_groups(adata, groupby, groups)


def rival_groups(adata: AnnData, keys: Keys, groupby: str | None, groups: Sequence[str] | None) -> np.ndarray:
    """Terminal group of each cell, as :func:`terminal_groups`, of which there are two at least."""
    terminal = terminal_groups(adata, keys, groupby, groups)
    if terminal is None or len(set(terminal) - {""}) < _RIVALS:
        raise ScnodeError("Log-odds need two terminal groups to tell apart. Pass groupby= and groups=.")
    return terminal


def named_groups(adata: AnnData, groupby: str, groups: Sequence[str] | None) -> np.ndarray:
    """Group of each cell where it is one of `groups`, of any by default; empty elsewhere and where it is missing."""
    labels = labels_of(adata, groupby)
    present = sorted(set(labels) - {""})
    if isinstance(groups, str):
        raise ScnodeError(f"groups={groups!r} is one name. Pass a list: groups=[{groups!r}].")
    for group in groups if groups is not None else []:
        if str(group) not in present:
            raise ScnodeError(f"{group!r} is no group of adata.obs[{groupby!r}]. {near(group, present)} Pass groups=.")
    wanted = present if groups is None else [str(g) for g in groups]
    if not wanted:
        raise ScnodeError(f"adata.obs[{groupby!r}] names no terminal group. Pass groups=.")
    return np.where(np.isin(labels, wanted), labels, "")


def labels_of(adata: AnnData, groupby: str) -> np.ndarray:
    """Group of each cell, empty where it is missing."""
    if groupby not in adata.obs:
        raise ScnodeError(f"adata.obs[{groupby!r}] not found. {near(groupby, adata.obs.columns)} Pass groupby=.")
    column = adata.obs[groupby]
    return np.where(column.isna(), "", column.astype(str)).astype(str)


def group_shares(latent: np.ndarray, terminal: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Share of each terminal group, sorted by name, among the nearest terminal cells of states (..., latent)."""
    from sklearn.neighbors import NearestNeighbors

    cells = np.flatnonzero(terminal != "")
    member = terminal[cells, None] == np.unique(terminal[cells])
    search = NearestNeighbors(n_neighbors=min(_N_VOTES, len(cells))).fit(latent[cells])
    nearest = search.kneighbors(states.reshape(-1, latent.shape[1]), return_distance=False)
    return member[nearest].mean(1).reshape(*states.shape[:-1], -1)


def outcome_table(
    latent: np.ndarray,
    terminal: np.ndarray,
    control: np.ndarray,
    perturbed: np.ndarray,
    doubt: np.ndarray | None = None,
    *,
    lost: np.ndarray | None = None,
    pvalues: np.ndarray | None = None,
    corrected: bool = True,
) -> pd.DataFrame:
    r"""One row a fate: shares of both arms, log2 fold change with its 95 % interval, p and q value, doubt.

    Let :math:`\delta_{ij}` be the change of a fate's share from start cell :math:`i` by member :math:`j` of :math:`m`.
    Members are fits to bootstraps of the cells, so that their spread is what another sample of cells would change, and
    does not fall with their number: the error of the mean is

    .. math:: s^2 = (1 + 1/m)\,\mathrm{var}_j\,\bar\delta_{\cdot j} + \mathrm{var}_i\,\bar\delta_{i\cdot}/n,

    and intervals and the two-sided p value are Student's of :math:`m - 1` degrees of freedom. From a start cell that is
    `lost` a fate may be reached by none or by all: the interval holds both bounds :cite:p:`Manski1990`, and p is that
    of the nearer.

    `doubt` (start, member) are the scores of the perturbed end states, by default 1 off the data and 0 on them. The p
    value of a fate is that given, else this one, and q values are Benjamini and Hochberg's over the fates, or p values
    still to be corrected over more tests.
    """
    import pandas as pd
    from scipy.stats import false_discovery_control

    before, after = (group_shares(latent, terminal, arm) for arm in (control, perturbed))
    far = Support(latent).misses(perturbed) if doubt is None else doubt
    lost = np.zeros(len(far), dtype=bool) if lost is None else lost
    rows = []
    for i, fate in enumerate(np.unique(terminal[terminal != ""])):
        here = after[..., i]
        rows.append(
            {
                "fate": fate,
                "control": before[..., i].mean(),
                "perturbed": here.mean(),
                **_change(before[..., i], here, lost),
                "ood": (far * here).sum() / here.sum() if here.any() else 0.0,
            }
        )
    table = pd.DataFrame(rows)
    if pvalues is not None:
        table["pvalue"] = pvalues
    table["qvalue"] = false_discovery_control(table["pvalue"]) if corrected else table["pvalue"]
    return table[[*table.columns.drop(["ood", "qvalue"]), "qvalue", "ood"]]


def log_change(before: np.ndarray, after: np.ndarray, n_starts: int) -> np.ndarray:
    """log2 fold change of shares; half a start keeps the logarithm of an empty fate finite."""
    half = 0.5 / n_starts
    return np.log2((after + half) / (before + half))


def moved_off(support: Support, control: np.ndarray, perturbed: np.ndarray) -> np.ndarray:
    """Which start states (start, latent) no cell is like once genes are at their levels, though one was before."""
    return support.misses(perturbed.astype(float)) & ~support.misses(control.astype(float))


def _change(before: np.ndarray, after: np.ndarray, lost: np.ndarray) -> dict[str, float]:
    """log2 fold change of a share with its interval, and the p value of its sign.

    `before` and `after` are (start, member), `lost` (start,).
    """
    from scipy.stats import norm, t

    n, m = before.shape
    known, change = after * ~lost[:, None], after - before
    among_starts = change.mean(1).var(ddof=1) / n if n > 1 else 0.0
    among_members = (1 + 1 / m) * change.mean(0).var(ddof=1) if m > 1 else 0.0
    # A share of n starts is known to half a start at best.
    error = max(np.sqrt(among_starts + among_members), 0.5 / n)
    law = t(m - 1) if m > 1 else norm
    bounds = np.array([(known - before).mean(), (known - before).mean() + lost.mean()])
    wide = before.mean() + bounds + law.ppf(0.975) * error * np.array([-1, 1])
    low, high = log_change(before.mean(), wide.clip(0, 1), n)
    return {
        "log_fold_change": float(log_change(before.mean(), after.mean(), n)),
        "ci_low": float(low),
        "ci_high": float(high),
        "pvalue": float(min(1.0, 2 * law.sf(max(bounds[0], -bounds[1], 0.0) / error))),
    }
