"""Which terminal group each cell is bound for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._random import random_source
from scnode._typing import RandomState
from scnode._write import written
from scnode.model import stored_model
from scnode.tl._cell_clock import cell_clock, own_times
from scnode.tl._committor import Committor, committor
from scnode.tl._control import own_control
from scnode.tl._fate_interval import intervals, read_known
from scnode.tl._outcomes import group_shares, named_groups

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Tensor

    from scnode.model import LatentODE


def fate(
    adata: AnnData,
    *,
    groupby: str,
    groups: Sequence[str] | None = None,
    t: float | None = None,
    known_key: str | None = None,
    coverage: float = 0.9,
    rng: RandomState = 0,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Estimate the probability that each cell reaches each terminal group.

    A cell's own state is noisy, and a deterministic flow carries the noise along. The probability is therefore found
    for all cells together: it is the committor :math:`q_k`, the chance to reach group :math:`k` before any other, of
    the chain :math:`P` of :func:`scnode.tl.transition_matrix`, which obeys

    .. math:: q_k(z_i) = \sum_j P_{ij}\, q_k(z_j), \qquad q_k = 1 \text{ in group } k,\ 0 \text{ in the others}

    (:cite:p:`Lange2022`). The equation is solved by Galerkin's method (:cite:p:`Thiede2019`) for
    :math:`q_k(z) = \sum_a c_{ka}\varphi_a(z)` outside the groups, with :math:`\Lambda` a ridge:

    .. math:: \Big[\tfrac1n \Phi^\top(\Phi - P\Phi) + \Lambda\Big] c_k = \tfrac1n \Phi^\top P\, 1_k

    The basis is a constant, the coordinates and 30 Gaussian bumps on the principal axes along which neighbouring cells
    share more than half of the variance, so that what a single cell does not share with its neighbours carries no
    fate. :math:`P` is averaged over the ensemble. Cells from which the chain comes to no group, more likely than not,
    in 10 000 steps lie in a trap of the field, which leaves their equation open; they take the mean of the 30 nearest
    cells from which it does, and a warning counts them.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit`.
    groupby
        `obs` column that holds the terminal groups; cells where it is missing belong to none.
    groups
        Its terminal groups, two or more; all by default.
    t
        Instead of the committor, flow every cell for this time, in units of the clock, with every member, and take
        the shares of the groups among the 15 terminal cells nearest to its ends; needed where the field depends on
        time, as the chain above does not.
    known_key
        `obsm` DataFrame with the shares of the groups (columns) that some cells are known to reach, such as those of
        their clones, and NaN for the others. Intervals are calibrated on these cells (:cite:p:`Angelopoulos2021`): of
        cells like them, of which the fit was not told these fates, they hold the share with probability `coverage`.
    coverage
        Of the intervals, in (0, 1).
    rng
        Source of randomness of the bumps' places and of the bootstrap.
    key_added, copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``obsm["scnode_fate"]``, a DataFrame of one column a group whose rows sum to 1 (a cell inside a terminal
        group has probability 1 of it), ``obsm["scnode_fate_se"]`` of the same shape, the standard deviation over 50
        bootstraps of members and cells (with `t`, over the members, 0 where there is one),
        ``obs["scnode_fate_entropy"]``, the entropy :math:`-\sum_k q_k \ln q_k / \ln K` in [0, 1] with :math:`K` the
        number of groups, with `known_key` ``obsm["scnode_fate_low"]`` and ``obsm["scnode_fate_high"]``, the ends of the
        intervals :math:`q_k \pm \hat s_k\,(\mathrm{se}_k + 0.05)` within [0, 1] with :math:`\hat s_k` the conformal
        quantile of :math:`|q_k - \mathrm{known}_k| / (\mathrm{se}_k + 0.05)`, and ``uns["scnode"]["fate"]``: `groupby`
        and `groups`, which :func:`scnode.tl.perturb` takes by default, and with `known_key` that and `coverage`.

    Raises
    ------
    ScnodeError
        No fitted model, a field that depends on time without `t`, an unknown column or group, fewer than two groups,
        no cell outside them, or groups that no cell moves to.
    SolverError
        A trajectory that could not be integrated.

    References
    ----------
    :cite:p:`Angelopoulos2021`, :cite:p:`Lange2022`, :cite:p:`Thiede2019`
    """
    import torch

    keys = Keys(key_added)
    model = stored_model(adata, key_added)
    if t is None and model.field.time_dependent:
        raise ScnodeError(
            "The field depends on time, and a committor is that of a chain whose steps do not. Pass t=, the time to "
            "flow every cell from its own clock."
        )
    terminal = named_groups(adata, groupby, groups)
    names = _check(terminal, groupby, t)
    latent = np.asarray(adata.obsm[keys.latent], dtype=float)
    labels = (terminal[:, None] == names).astype(float)
    known = None if known_key is None else read_known(adata, known_key, names)
    if not 0 < coverage < 1:
        raise ScnodeError(f"coverage={coverage} must lie between 0 and 1. Leave it out for 0.9.")
    own = own_control(adata, model)
    if t is None:
        found = committor(latent, _velocities(model, latent, own), labels, rng=random_source(rng))
    else:
        times = own_times(model, cell_clock(adata, model, keys), torch.tensor([0.0, float(t)]))
        found = _flowed(model, latent, terminal, labels, times, own)
    record = {"groupby": groupby, "groups": names.tolist()}
    ends = None if known is None else intervals(found, known, terminal == "", coverage)
    if ends is not None:
        record |= {"known_key": known_key, "coverage": float(coverage)}
    with written(adata, copy=copy) as result:
        _write(result, keys, names, found, record, ends)
    return result if copy else None


def _check(terminal: np.ndarray, groupby: str, t: float | None) -> np.ndarray:
    """Names of the groups, which are two or more and leave cells to ask about."""
    names = np.unique(terminal[terminal != ""])
    if len(names) < 2:
        raise ScnodeError(f"adata.obs[{groupby!r}] gives the one terminal group {names.tolist()}. Pass two as groups=.")
    if (terminal != "").all():
        raise ScnodeError(
            f"Every cell lies in a terminal group of adata.obs[{groupby!r}]. Pass the last ones as groups=."
        )
    if t is not None and not (np.isfinite(t) and t > 0):
        raise ScnodeError(f"t={t} must be positive. Leave it out for the time that the cells need.")
    return names


def _velocities(model: LatentODE, latent: np.ndarray, own: Tensor | None) -> np.ndarray:
    """Velocity of every member, shape (member, cell, latent)."""
    import torch

    states = torch.as_tensor(latent, dtype=torch.float32)
    with torch.no_grad():
        return model.under(own).members(states.new_zeros(()), states).numpy().astype(float)


def _flowed(  # noqa: PLR0917
    model: LatentODE, latent: np.ndarray, terminal: np.ndarray, labels: np.ndarray, ts: Tensor, control: Tensor | None
) -> Committor:
    """Shares of the groups around the ends of all members; terminal cells keep their group."""
    import torch

    live = terminal == ""
    states = torch.as_tensor(latent[live], dtype=torch.float32)
    own = ts[torch.from_numpy(live)] if ts.ndim == 2 else ts
    with torch.no_grad():
        under = None if control is None else control[torch.from_numpy(live)]
        ends = model.flow(states, own, members=True, control=under)[:, :, -1].numpy()
    shares = group_shares(latent, terminal, ends.astype(float))
    probability, se = labels.copy(), np.zeros_like(labels)
    probability[live] = shares.mean(1)
    # Members are bootstraps: the spread of one is the standard error of their mean.
    se[live] = shares.std(1, ddof=min(1, shares.shape[1] - 1))
    return Committor(probability, se)


def _write(  # noqa: PLR0917
    adata: AnnData,
    keys: Keys,
    names: np.ndarray,
    found: Committor,
    record: dict[str, Any],
    ends: tuple[np.ndarray, np.ndarray] | None,
) -> None:
    import pandas as pd
    from scipy.special import entr

    tables = {keys.fate: found.probability, keys.fate_se: found.se}
    # Intervals of an earlier call must not stay: they would be taken for this one's.
    for key in {keys.fate_low, keys.fate_high} & set(adata.obsm):
        del adata.obsm[key]
    if ends is not None:
        tables |= dict(zip((keys.fate_low, keys.fate_high), ends, strict=True))
    for key, values in tables.items():
        adata.obsm[key] = pd.DataFrame(values, index=adata.obs_names, columns=names.tolist())
    adata.obs[keys.fate_entropy] = entr(found.probability).sum(1) / np.log(len(names))
    adata.uns[keys.uns] = {**adata.uns[keys.uns], "fate": record}
