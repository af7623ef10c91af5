"""Which gene moved the cells to their fates, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._write import written
from scnode.model import stored_model
from scnode.tl._adjoint_path import PIECES, AdjointPath, Odds
from scnode.tl._cell_clock import cell_clock, own_times
from scnode.tl._constraint import linear_decoder
from scnode.tl._control import chosen_control
from scnode.tl._outcomes import rival_groups
from scnode.tl._trajectories import Start, start_rows

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Tensor

    from scnode._typing import VectorField
    from scnode.model import LatentODE
    from scnode.nn._inputs import Input

_N_SPEEDS, _FEWEST = 12, 2


def attribution(
    adata: AnnData,
    *,
    start: Start = None,
    groupby: str | None = None,
    groups: Sequence[str] | None = None,
    t: float | None = None,
    n_steps: int = PIECES + 1,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Share the change of the fates' log-odds along the flow out among genes and times.

    A decoder with rows :math:`a_g` and the columns :math:`d_g` of its pseudoinverse, :math:`\sum_g d_g a_g^\top = I`,
    writes the flow as the sum of what each gene does to the state, :math:`f = \sum_g d_g\,(a_g\cdot f)`. Let every gene
    move at the share :math:`s` of its rate, :math:`\dot z_s = s f(z_s)`, from cells at rest (0) to the flow itself (1).
    The contribution of gene :math:`g` at time :math:`\tau` to the log-odds :math:`\Phi_k` of fate :math:`k` at the end
    is its integrated gradient along these flows,

    .. math:: C_{kg}(\tau) = \int_0^1 (\lambda_s\cdot d_g)\,(a_g\cdot f(z_s))\,\mathrm ds, \qquad
              \lambda_s(\tau) = \partial\Phi_k(z_s(t))/\partial z_s(\tau),

    per unit of the clock. Contributions are complete [1]_: summed over genes and integrated over time they are
    :math:`\Phi_k(z(t)) - \Phi_k(z(0))`. That a gene contributes says that the cells' fate was reached by its change,
    and not that another gene would not have stood in for it: for that it is held, by :func:`scnode.tl.perturb`.

    The integral is Gauss and Legendre's over twelve speeds, each solved with its adjoint. Log-odds are of a multinomial
    logistic regression of the terminal cells on their states, as in :func:`scnode.tl.screen`. In a model of RNA the
    state is the genes themselves, and a gene contributes by both of its abundances.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit` with ``encoder="pca"``, ``decoder="linear"`` or ``field="rna"``.
    start, groupby, groups, t
        As in :func:`scnode.tl.perturb`; groups are needed, two at least.
    n_steps
        Number of times, both ends included.
    key_added, copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``uns["scnode"]["attribution"]``: `t` (time,) since the start, `genes`, `fates`, `contribution` (fate,
        gene, time) in log-odds per unit of the clock, mean over start cells and members, its standard deviation over
        the members `sd` of the same shape, the `change` of the mean log-odds (fate,), and `sum` (fate,), to which the
        contributions add up.

    Raises
    ------
    ScnodeError
        No fitted model, no decoder or a nonlinear one, an unknown group, fewer than two groups, fewer than two times,
        or a time that is not positive.
    SolverError
        A trajectory that could not be integrated.

    References
    ----------
    .. [1] Sundararajan, Taly & Yan, Axiomatic attribution for deep networks, ICML (2017).
    """
    import torch

    keys = Keys(key_added)
    model = stored_model(adata, key_added)
    horizon = 1.0 if t is None else float(t)
    if not horizon > 0 or n_steps < _FEWEST:
        raise ScnodeError(f"t={t} must be positive and n_steps={n_steps} at least {_FEWEST}. Leave them out.")
    axes = _gene_axes(model)
    terminal = rival_groups(adata, keys, groupby, groups)
    latent, rows = np.asarray(adata.obsm[keys.latent], dtype=float), start_rows(adata, start, keys)
    states, odds = torch.as_tensor(latent[rows], dtype=torch.float32), Odds.of(latent, terminal)
    elapsed, control = torch.linspace(0, horizon, n_steps), chosen_control(adata, model, rows, None)
    grid = own_times(model, cell_clock(adata, model, keys)[rows], elapsed)
    shares, weight = _integrated(model, states, grid, odds, axes, control)
    with torch.no_grad():
        ends = model.flow(states, grid[..., [0, -1]], members=True, control=control)[:, :, -1]
        change = (odds(ends) - odds(states)[:, None]).mean((0, 1))
    mean = shares.mean(-1)
    record = {
        "t": elapsed.numpy().astype(float),
        "genes": np.asarray(model.genes).astype(str),
        "fates": np.unique(terminal[terminal != ""]).astype(str),
        "contribution": mean.numpy(),
        "sd": shares.std(-1, correction=0).numpy(),
        "change": change.numpy(),
        "sum": (mean.sum(1) @ weight).numpy(),
    }
    with written(adata, copy=copy) as result:
        result.uns[keys.uns] = {**result.uns[keys.uns], "attribution": record}
    return result if copy else None


def _gene_axes(model: LatentODE) -> tuple[Tensor, Tensor]:
    """How the genes are read off the state, and how they move it, both (part, gene, latent), parts of a gene adding."""
    import torch

    from scnode.nn import Moments

    if isinstance(model.decoder, Moments):
        own = torch.eye(model.n_latent).unflatten(0, (2, -1))
        return own, own
    read = linear_decoder(model).components.detach()[None]
    return read, torch.linalg.pinv(read).mT


def _integrated(  # noqa: PLR0917
    model: LatentODE, start: Tensor, grid: Tensor, odds: Odds, axes: tuple[Tensor, Tensor], control: Input | None
) -> tuple[Tensor, Tensor]:
    """Contributions (fate, gene, time, member), mean over the cells, and the weights of the times."""
    import torch

    from scnode.nn import side_by_side

    n_members = model.field.n_members
    field, start = side_by_side(model.under(control), n_members), start.repeat(1, n_members)
    parts: list[Tensor] = []
    for node, share in zip(*np.polynomial.legendre.leggauss(_N_SPEEDS), strict=True):
        speed = (1 + float(node)) / 2
        path = AdjointPath.along(_slowed(field, speed), start, grid, odds)
        pushed = torch.einsum("ktcml,tcmj->ktmlj", path.adjoints, path.velocity)
        moved = sum(((made @ pushed) * read).sum(-1) for read, made in zip(*axes, strict=True))
        # The path moves at this speed and its adjoint is of a mean over members, each of which counts for itself here.
        parts.append(moved * (float(share) / 2 / speed * n_members))
    return torch.stack(parts).sum(0).movedim(3, 1), path.weight


def _slowed(field: VectorField, speed: float) -> VectorField:
    return lambda t, y: speed * field(t, y)
