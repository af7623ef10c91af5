"""Rank every gene by what holding it would do to the fates, and verify the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._settings import settings
from scnode._write import written
from scnode.data import Support
from scnode.model import stored_model
from scnode.tl._adjoint_path import PIECES, AdjointPath, Odds
from scnode.tl._cell_clock import cell_clock, own_times
from scnode.tl._constraint import Reader, constraint, linear_decoder
from scnode.tl._control import own_control
from scnode.tl._few_held import FewHeld
from scnode.tl._outcomes import moved_off, outcome_table, rival_groups
from scnode.tl._trajectories import Start, start_rows

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from torch import Tensor

    from scnode.model import LatentODE

_FEW = 20
_OFF = 0.5
_TOGETHER = 1e-4
_FLAT = 1e-6


def screen(
    adata: AnnData,
    *,
    genes: Sequence[str] | None = None,
    level: float = 0.0,
    start: Start = None,
    groupby: str | None = None,
    groups: Sequence[str] | None = None,
    t: float | None = None,
    n_verified: int = 20,
    n_paired: int = 0,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Rank genes by what holding each at a level does to the fates.

    First, every gene is held along a few trajectories, at most one in fifty of those of every member from every start
    cell, and ranked by the largest `shift` of a fate's mean share. Then the genes of the largest shifts are held in
    full, as :func:`scnode.tl.perturb` does; last come genes that no state near the cells has at this level, as
    `start_ood` tells.

    Beside it stands the first order over all start cells and members. Holding the gene with decoder row :math:`a` moves
    the start onto its plane and takes :math:`a^+ a\cdot f` from the velocity, where :math:`a^+ = Ca/(a\cdot Ca)` with
    the covariance :math:`C` of the cells, and to first order in this change the mean log-odds :math:`\Phi_k` of fate
    :math:`k` at the end of the flow shift by the `score`

    .. math:: -(a^+\cdot\lambda_0)(a\cdot z_0 + b - \ell) - \int_0^t (a^+\cdot\lambda)(a\cdot f)\,\mathrm dt,
              \qquad \lambda = \partial\Phi_k/\partial z(t),

    with :math:`b` the gene's mean and :math:`\ell` the level. The adjoint :math:`\lambda` is the same for all genes:
    one flow and one pass back score thousands. The first order tells which way a gene pulls where it is; held at a far
    level, cells cross between the basins of the fates, of which it knows nothing. Fates are read off for the score by a
    multinomial logistic regression of the terminal cells on their states.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit` with ``encoder="pca"`` or ``decoder="linear"``.
    genes
        Genes to rank, by default all of the model; those that are constant in the latent space are left out.
    level
        At which each is held, in log-normalised units; 0 is a knock-out.
    start, groupby, groups, t
        As in :func:`scnode.tl.perturb`; groups are needed, two at least.
    n_verified
        How many genes are held in full.
    n_paired
        Of how many genes, the best, every two are held together along the few trajectories.
    key_added, copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``uns["scnode"]["screen"]``: `level`, `t` and `table`, one row a gene and fate, and with `n_paired`
        `pairs`, one row a pair and fate, see :func:`scnode.get.screen`.

    Raises
    ------
    ScnodeError
        No fitted model, no decoder or a nonlinear one, an unknown gene or group, fewer than two groups, a level below
        zero, or a time that is not positive.
    SolverError
        A trajectory that could not be integrated.
    """
    import pandas as pd
    import torch

    from scnode.nn import side_by_side

    keys = Keys(key_added)
    model = stored_model(adata, key_added)
    names, horizon = _moving(model, model.genes if genes is None else genes), 1.0 if t is None else float(t)
    if not names or not horizon > 0 or min(n_verified, n_paired) < 0:
        raise ScnodeError(
            f"genes={genes!r}, t={t}, n_verified={n_verified} and n_paired={n_paired} leave nothing to do. Leave them "
            "out."
        )
    columns = model.columns(names)
    terminal = rival_groups(adata, keys, groupby, groups)
    latent = np.asarray(adata.obsm[keys.latent], dtype=float)
    reader = Reader.of(model, latent)
    # The level is checked once, on the first gene.
    constraint(reader, {names[0]: level})
    rows = start_rows(adata, start, keys)
    states, own = torch.as_tensor(latent[rows], dtype=torch.float32), own_control(adata, model)
    control = None if own is None else own[rows]
    fates = np.unique(terminal[terminal != ""])
    grid = own_times(model, cell_clock(adata, model, keys)[rows], torch.linspace(0, horizon, PIECES + 1))
    field, odds = side_by_side(model.under(control), model.field.n_members), Odds.of(latent, terminal)
    path = AdjointPath.along(field, states.repeat(1, model.field.n_members), grid, odds)
    scores = _scores(path, reader, columns, level)
    few = FewHeld.of(model, states, grid[..., [0, -1]], control, latent, terminal)
    table, shifts = (
        pd.DataFrame(values, index=pd.Index(names, name="gene"), columns=pd.Index(fates, name="fate"))
        for values in (scores, few.shifts([[gene] for gene in names], level))
    )
    off = pd.Series(_off(reader, states, latent, columns, level), index=table.index)
    order = _order(table, shifts, off)
    levels = dict.fromkeys(order[:n_verified], level)
    flow = partial(model.flow, states, grid[..., [0, -1]], members=True, control=control)
    held = _verified(flow, reader, states, levels, latent=latent, terminal=terminal)
    tidy = table.loc[order].reset_index().melt("gene", var_name="fate", value_name="score")
    tidy["shift"] = shifts.loc[order].to_numpy().T.ravel()
    tidy.insert(1, "start_ood", off[tidy["gene"]].to_numpy())
    record = {
        "level": float(level),
        "t": horizon,
        "table": tidy.merge(held, on=["gene", "fate"], how="left") if len(held) else tidy,
    }
    if n_paired > 1:
        record["pairs"] = _paired(few, model, order[:n_paired], shifts, level)
    with written(adata, copy=copy) as result:
        result.uns[keys.uns] = {**result.uns[keys.uns], "screen": record}
    return result if copy else None


def _moving(model: LatentODE, genes: Sequence[str]) -> list[str]:
    """Genes, each once, without those that are constant in the latent space: holding them asks nothing of a state."""
    names = list(dict.fromkeys(genes))
    size = linear_decoder(model).components[model.columns(names)].norm(dim=1)
    return [name for name, one in zip(names, size.tolist(), strict=True) if one > _FLAT]


def _order(scores: pd.DataFrame, shifts: pd.DataFrame, off: pd.Series) -> pd.Index:
    """Genes by their largest shift of a fate, and among equals by their score."""
    import pandas as pd

    effects = {"shift": -shifts.abs().max(axis=1), "score": -scores.abs().max(axis=1)}
    # A gene that no state near the cells has at this level says nothing, however large its effect.
    return pd.DataFrame({"off": off > _OFF} | effects).sort_values(["off", "shift", "score"]).index


def _paired(few: FewHeld, model: LatentODE, genes: pd.Index, shifts: pd.DataFrame, level: float) -> pd.DataFrame:
    """Shift of every fate with two genes held, and what it is beyond the sum of both alone; the largest of these first.

    Two genes that the latent space cannot hold apart are one.
    """
    import pandas as pd
    import torch

    rows = torch.nn.functional.normalize(_planes(model, model.columns(genes), level)[0], dim=1)
    apart = (rows @ rows.T).square() < 1 - _TOGETHER
    pairs = [(genes[i], genes[k]) for i in range(len(genes)) for k in range(i) if apart[i, k]]
    if not pairs:
        return pd.DataFrame(columns=["gene", "partner", "fate", "shift", "synergy"])
    first, second = (pd.Index(side) for side in zip(*pairs, strict=True))
    both = few.shifts(pairs, level)
    beyond = both - shifts.loc[first].to_numpy() - shifts.loc[second].to_numpy()
    index = pd.MultiIndex.from_tuples(pairs, names=["gene", "partner"]).repeat(len(shifts.columns))
    table = index.to_frame(index=False).assign(fate=np.tile(shifts.columns.to_numpy(), len(pairs)))
    table["shift"], table["synergy"] = both.ravel(), beyond.ravel()
    return table.sort_values("synergy", key=abs, ascending=False, kind="stable", ignore_index=True)


def _scores(flow: AdjointPath, reader: Reader, columns: list[int], level: float) -> np.ndarray:
    """First-order shift of the log-odds of every fate when a gene is held, (gene, fate)."""
    import torch

    rows, offset = _planes(reader.model, columns, level)
    across, scores = _across(rows, reader), []
    for adjoint in flow.adjoints:
        pushed = torch.einsum("k,kcml,kcmj->lj", flow.weight, adjoint, flow.velocity)
        pushed += torch.einsum("cml,cmj->lj", adjoint[0], flow.states[0])
        scores.append(-((across @ pushed) * rows).sum(1) - offset * (across @ adjoint[0].sum((0, 1))))
    return torch.stack(scores, dim=1).numpy()


def _planes(model: LatentODE, columns: list[int], level: float) -> tuple[Tensor, Tensor]:
    """Decoder rows of the genes, and their means above the level."""
    decoder = linear_decoder(model)
    return decoder.components[columns].detach(), (decoder.mean[columns] - level).detach()


def _across(rows: Tensor, reader: Reader) -> Tensor:
    """Least changes of a state by which each gene changes by one, (gene, latent)."""
    import torch

    from scnode.nn import Hold, LinearReadout

    by_row = LinearReadout(rows.unsqueeze(1), rows.new_zeros(len(rows), 1))
    return Hold(by_row, rows.new_ones(1), reader.spread).confine(torch.zeros_like(rows))


def _off(reader: Reader, states: Tensor, latent: np.ndarray, columns: list[int], level: float) -> np.ndarray:
    """Share of the starts, of a few, that lie off the cells once a gene is at its level."""
    import torch

    rows, offset = _planes(reader.model, columns, level)
    few = states[torch.linspace(0, len(states) - 1, min(len(states), _FEW)).long()]
    moved = few[:, None] - (few @ rows.T + offset)[:, :, None] * _across(rows, reader)
    return Support(latent).misses(moved.numpy().astype(float)).mean(0)


def _verified(
    flow: Callable[..., Tensor], reader: Reader, states: Tensor, levels: dict[str, float], **cells: np.ndarray
) -> pd.DataFrame:
    """Fates with each of these genes held in full, q values over all of them."""
    import pandas as pd
    import torch
    from scipy.stats import false_discovery_control
    from tqdm.auto import tqdm

    tables, support = [], Support(cells["latent"])
    with torch.no_grad():
        control = flow()[:, :, -1].numpy()
        for gene, level in tqdm(levels.items(), desc="Verify", disable=not settings.progress or not levels):
            hold = constraint(reader, {gene: level})
            held = flow(hold=hold)[:, :, -1].numpy()
            lost = moved_off(support, states.numpy(), hold.confine(states).numpy())
            off = support.misses(held)
            table = outcome_table(**cells, control=control, perturbed=held, doubt=off, lost=lost, corrected=False)
            tables.append(table.assign(gene=gene))
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables, ignore_index=True)
    table["qvalue"] = false_discovery_control(table["qvalue"])
    return table[["gene", "fate", "log_fold_change", "ci_low", "ci_high", "qvalue", "ood"]]
