"""Rank every gene by what holding it would do to the fates, and verify the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._settings import settings
from scnode.data import Support
from scnode.model import stored_model
from scnode.tl._adjoint_path import PIECES, AdjointPath, Odds
from scnode.tl._cell_clock import cell_clock, own_times
from scnode.tl._constraint import constraint, linear_decoder
from scnode.tl._control import chosen_control
from scnode.tl._outcomes import outcome_table, rival_groups
from scnode.tl._trajectories import Start, start_rows

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from torch import Tensor

    from scnode._typing import VectorField
    from scnode.model import LatentODE

_FEW = 20
_OFF = 0.5


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
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Rank genes by the first-order effect on the fates of holding each at a level.

    Holding the gene with decoder row :math:`a` moves the start onto its plane and takes :math:`a^+ a\cdot f` from the
    velocity (:func:`scnode.tl.perturb`). To first order in this change the mean log-odds :math:`\Phi_k` of fate
    :math:`k` at the end of the flow shift by

    .. math:: -\frac{1}{\|a\|^2}\Big[(a\cdot\lambda_0)(a\cdot z_0 + b - \ell)
              + \int_0^t (a\cdot\lambda)(a\cdot f)\,\mathrm dt\Big], \qquad \lambda = \partial\Phi_k/\partial z(t),

    with :math:`b` the gene's mean and :math:`\ell` the level. The adjoint :math:`\lambda` is the same for all genes:
    one flow and one pass back rank thousands. Fates are read off by a multinomial logistic regression of the terminal
    cells on their states. The genes of the largest effects are then held in full, as :func:`scnode.tl.perturb` does;
    last come genes that no state near the cells has at this level, as `start_ood` tells.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit` with ``encoder="pca"`` or ``decoder="linear"``.
    genes
        Genes to rank, by default all of the model.
    level
        At which each is held, in log-normalised units; 0 is a knock-out.
    start, groupby, groups, t
        As in :func:`scnode.tl.perturb`; groups are needed, two at least.
    n_verified
        How many genes are held in full.
    key_added, copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``uns["scnode"]["screen"]``: `level`, `t` and `table`, one row a gene and fate, see
        :func:`scnode.get.screen`.

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
    names = list(model.genes) if genes is None else list(genes)
    columns, horizon = model.columns(names), 1.0 if t is None else float(t)
    if not names or not horizon > 0 or n_verified < 0:
        raise ScnodeError(f"genes={genes!r}, t={t} and n_verified={n_verified} leave nothing to do. Leave them out.")
    # The level and the decoder are checked once, on the first gene.
    linear_decoder(model)
    constraint(model, {names[0]: level})
    terminal = rival_groups(adata, keys, groupby, groups)
    latent = np.asarray(adata.obsm[keys.latent], dtype=float)
    rows = start_rows(adata, start, keys)
    states, control = torch.as_tensor(latent[rows], dtype=torch.float32), chosen_control(adata, model, rows, None)
    fates = np.unique(terminal[terminal != ""])
    grid = own_times(model, cell_clock(adata, model, keys)[rows], torch.linspace(0, horizon, PIECES + 1))
    field, odds = side_by_side(model.under(control), model.field.n_members), Odds.of(latent, terminal)
    path = AdjointPath.along(field, states.repeat(1, model.field.n_members), grid, odds)
    scores = _scores(path, model, columns, level)
    table = pd.DataFrame(scores, index=pd.Index(names, name="gene"), columns=fates)
    table["start_ood"] = _off(model, states, latent, columns, level)
    effect = table[fates].abs().max(axis=1)
    # A gene that no state near the cells has at this level says nothing, however large its effect.
    order = pd.DataFrame({"off": table["start_ood"] > _OFF, "effect": -effect}).sort_values(["off", "effect"]).index
    levels = dict.fromkeys(order[:n_verified], level)
    flow = partial(model.flow, states, grid[..., [0, -1]], members=True, control=control)
    held = _verified(flow, model, levels, latent=latent, terminal=terminal)
    tidy = table.loc[order].reset_index().melt(["gene", "start_ood"], var_name="fate", value_name="score")
    result = adata.copy() if copy else adata
    record = {
        "level": float(level),
        "t": horizon,
        "table": tidy.merge(held, on=["gene", "fate"], how="left") if len(held) else tidy,
    }
    result.uns[keys.uns] = {**result.uns[keys.uns], "screen": record}
    return result if copy else None


def _scores(flow: AdjointPath, model: LatentODE, columns: list[int], level: float) -> np.ndarray:
    """First-order shift of the log-odds of every fate when a gene is held, (gene, fate)."""
    import torch

    rows, offset = _planes(model, columns, level)
    scores = []
    for adjoint in flow.adjoints:
        pushed = torch.einsum("k,kcml,kcmj->lj", flow.weight, adjoint, flow.velocity)
        pushed += torch.einsum("cml,cmj->lj", adjoint[0], flow.states[0])
        moved = ((rows @ pushed) * rows).sum(1) + offset * (rows @ adjoint[0].sum((0, 1)))
        scores.append(-moved / rows.square().sum(1))
    return torch.stack(scores, dim=1).numpy()


def _planes(model: LatentODE, columns: list[int], level: float) -> tuple[Tensor, Tensor]:
    """Decoder rows of the genes, and their means above the level."""
    decoder = linear_decoder(model)
    return decoder.components[columns].detach(), (decoder.mean[columns] - level).detach()


def _off(model: LatentODE, states: Tensor, latent: np.ndarray, columns: list[int], level: float) -> np.ndarray:
    """Share of the starts, of a few, that lie off the cells once a gene is at its level."""
    import torch

    rows, offset = _planes(model, columns, level)
    few = states[torch.linspace(0, len(states) - 1, min(len(states), _FEW)).long()]
    above = (few @ rows.T + offset) / rows.square().sum(1)
    moved = few[:, None] - above[:, :, None] * rows
    return Support(latent).misses(moved.numpy().astype(float)).mean(0)


def _verified(
    flow: Callable[..., Tensor], model: LatentODE, levels: dict[str, float], **cells: np.ndarray
) -> pd.DataFrame:
    """Fates with each of these genes held in full, q values over all of them."""
    import pandas as pd
    import torch
    from scipy.stats import false_discovery_control
    from tqdm.auto import tqdm

    tables = []
    with torch.no_grad():
        control = flow()[:, :, -1].numpy()
        for gene, level in tqdm(levels.items(), desc="Verify", disable=not settings.progress or not levels):
            hold = constraint(model, {gene: level})
            held = flow(hold=hold)[:, :, -1].numpy()
            table = outcome_table(**cells, control=control, perturbed=held, corrected=False)
            tables.append(table.assign(gene=gene))
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables, ignore_index=True)
    table["qvalue"] = false_discovery_control(table["qvalue"])
    return table[["gene", "fate", "log_fold_change", "ci_low", "ci_high", "qvalue", "ood"]]
