"""Finite-time Lyapunov exponents: where neighbouring cells part."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._settings import logger
from scnode._write import written
from scnode.data import Neighbors
from scnode.model import stored_model
from scnode.tl._cell_clock import cell_clock
from scnode.tl._control import own_control
from scnode.tl._parts import each_part

if TYPE_CHECKING:
    from anndata import AnnData
    from distributed import Client
    from torch import Tensor

    from scnode.model import LatentODE

_NUMBERS = 2**19
_HORIZON = 0.5
# Of tangents of about unit size: the median exponent is then right to 1e-5, the worst of a thousand to 1 %.
_ATOL = 1e-5
# Longer flows leave the cells, and the exponent is then of the field's surroundings.
_FAR = 2.0


def ftle(
    adata: AnnData,
    *,
    horizon: float | None = None,
    direction: Literal["forward", "backward"] = "forward",
    n_directions: int | None = None,
    across: bool = False,
    client: Client | None = None,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Finite-time Lyapunov exponent :math:`\Lambda = \frac1T\ln\sigma_{\max}(\partial\phi^T/\partial z)` of each cell.

    It is the rate at which the nearest states part along the flow :math:`\phi` for a time :math:`T`. Forward in time,
    ridges of it divide the fates: on both sides cells look alike and end apart. Backward in time, ridges attract. Cells
    part too where the flow speeds up, of which some run ahead of others on one way to one fate; `across` leaves this
    out.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit`.
    horizon
        :math:`T` in units of the clock, half of its range by default: long enough to reach the fates from a decision,
        and short enough not to average over what comes after.
    direction
        ``"forward"`` or ``"backward"``.
    n_directions
        Confine neighbours to that many principal directions of the 30 nearest cells, which span the data manifold;
        by default every direction of the latent space counts.
    across
        Whether to count only how far neighbours part across the flow, :math:`\sigma_{\max}((I - \hat f \hat f^\top)\,
        \partial\phi^T/\partial z)` with :math:`\hat f` the direction of the field at the end.
    client
        A :class:`dask.distributed.Client <distributed.Client>` whose workers take the cells, some hundreds at a time.
    key_added, copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``obs["scnode_ftle"]`` (1 per unit of the clock; positive where neighbours part, negative where they
        draw together; NaN where a flow backward in time does not arrive) and ``uns["scnode"]["ftle"]`` with
        `horizon`, `direction`, `n_directions` (0 for all), `across` and `n_lost`, how many cells have none.

    Raises
    ------
    ScnodeError
        No fitted model, a horizon that is not positive, an unknown direction, more directions than the latent
        space or a cell's neighbourhood has, or a client whose workers give no answer.
    SolverError
        A trajectory that could not be integrated forward in time.

    References
    ----------
    :cite:p:`Shadden2005`
    """
    keys = Keys(key_added)
    model = stored_model(adata, key_added)
    length = _HORIZON if horizon is None else float(horizon)
    if not (math.isfinite(length) and length > 0):
        raise ScnodeError(f"horizon={horizon} must be positive. Leave it out, or pass direction='backward' to go back.")
    if direction not in ("forward", "backward"):
        raise ScnodeError(f"direction={direction!r} is unknown. Pass 'forward' or 'backward'.")
    latent = np.asarray(adata.obsm[keys.latent], dtype=float)
    directions = None if n_directions is None else _directions(latent, n_directions)
    if length > _FAR:
        logger.warning("horizon=%g is %g times the range of the clock: the flow leaves the cells.", length, length)
    horizon = length if direction == "forward" else -length
    cells = _cells(adata, model, keys, directions)
    size = max(1, _NUMBERS // (model.n_latent + 1) ** 2)
    parts = each_part(
        partial(_exponents, horizon=horizon, across=across), model, cells, size=size, client=client, name="FTLE"
    )
    values = np.concatenate(parts)
    lost = int(np.isnan(values).sum())
    if lost:
        logger.warning("%d cells have no exponent: their flow does not arrive. Pass a shorter horizon=.", lost)
    with written(adata, copy=copy) as result:
        result.obs[keys.ftle] = values
        record = {
            "horizon": length,
            "direction": direction,
            "n_directions": n_directions or 0,
            "across": across,
            "n_lost": lost,
        }
        result.uns[keys.uns] = {**result.uns[keys.uns], "ftle": record}
    return result if copy else None


def _directions(latent: np.ndarray, n: int) -> np.ndarray:
    """Principal directions of every cell's neighbours, (cell, latent, n)."""
    near = Neighbors.of(latent, k=30)
    most = min(latent.shape[1], near.index.shape[1] - 1)
    if not 1 <= n <= most:
        raise ScnodeError(f"n_directions={n} must lie between 1 and {most}. Leave it out for the whole latent space.")
    around = latent[near.index]
    around = around - around.mean(1, keepdims=True)
    return np.linalg.svd(around, full_matrices=False)[2][:, :n].transpose(0, 2, 1)


def _cells(
    adata: AnnData, model: LatentODE, keys: Keys, directions: np.ndarray | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """States, times, inputs and directions of all cells."""
    import torch

    states = torch.from_numpy(np.asarray(adata.obsm[keys.latent], dtype=np.float32))
    frames = None if directions is None else torch.as_tensor(directions, dtype=torch.float32)
    return states, cell_clock(adata, model, keys)[:, 0], own_control(adata, model), frames


def _exponents(
    model: LatentODE,
    states: Tensor,
    clock: Tensor,
    control: Tensor | None,
    directions: Tensor | None,
    *,
    horizon: float,
    across: bool,
) -> np.ndarray:
    from scnode import ode

    field = model.under(control)
    return ode.ftle(
        field.mean,
        states,
        horizon,
        t=clock,
        atol=_ATOL,
        jacobian=field.jacobian,
        directions=directions,
        across=across,
        on_failure="raise" if horizon > 0 else "return",
    ).numpy()
