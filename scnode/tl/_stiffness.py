"""Time scales of the fitted field, the genes that carry them, and the solver that follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._write import written
from scnode.model import stored_model
from scnode.tl._cell_clock import cell_clock, own_times
from scnode.tl._control import own_control
from scnode.tl._jacobian import of_jacobians

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from distributed import Client
    from torch import Tensor

    from scnode.model import LatentODE

_CHUNK = 4096
_PILOTS = 256
_GENES = 20


def stiffness(
    adata: AnnData,
    *,
    t: float = 1.0,
    client: Client | None = None,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Measure how far the time scales of the field lie apart.

    At every cell the eigenvalues :math:`\lambda` of the Jacobian give time scales :math:`1/|\mathrm{Re}\,\lambda|`; the
    ratio of the slowest to the fastest is the stiffness. The verdict follows trajectories of a sample of cells, as
    :func:`scnode.ode.stiffness_ratio` gives it: a ratio is expensive only where the fastest decay is short beside the
    time :math:`t` that is to be solved.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit`.
    t
        Length of the pilot trajectories in units of the clock.
    client
        A :class:`dask.distributed.Client <distributed.Client>` whose workers take the cells, some thousands at a time.
    key_added, copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``obs["scnode_stiffness"]``, the ratio
        :math:`\max|\mathrm{Re}\,\lambda| / \min|\mathrm{Re}\,\lambda|`, ``obs["scnode_fast_time"]`` and
        ``obs["scnode_slow_time"]``, both time scales in units of the clock, and ``uns["scnode"]["stiffness"]``:
        `ratio`, `spectral_radius`, `radius_times_interval` and `decay_times_interval`, medians over the pilots,
        `stiff`, the share of them that an explicit solver is held up on, `n_conserved`, `solver`, the one to take,
        `t`, and with a decoder `modes`, a table of the genes that move most along the `fast` and the `slow` mode, with
        their mean `loading`, of length 1 over all genes.

    Raises
    ------
    ScnodeError
        No fitted model, a length that is not positive, or a client whose workers give no answer.
    SolverError
        A Jacobian that is not finite.

    References
    ----------
    :cite:p:`HairerWanner1996`
    """
    keys = Keys(key_added)
    model = stored_model(adata, key_added)
    if not (np.isfinite(t) and t > 0):
        raise ScnodeError(f"t={t} must be positive. Leave it out for the full range of the clock.")
    record = _pilots(adata, model, keys, float(t))
    parts = of_jacobians(_time_scales, adata, model, keys, client=client)
    fastest, slowest, fast, slow = (np.concatenate(p) for p in zip(*parts, strict=True))
    if model.encoder is not None:
        record["modes"] = _modes(model, np.asarray(adata.obsm[keys.latent]), fast, slow)
    with written(adata, copy=copy) as result:
        result.obs[keys.stiffness] = slowest / fastest
        result.obs[keys.fast_time], result.obs[keys.slow_time] = fastest, slowest
        result.uns[keys.uns] = {**result.uns[keys.uns], "stiffness": record}
    return result if copy else None


def _pilots(adata: AnnData, model: LatentODE, keys: Keys, t: float) -> dict[str, Any]:
    """Verdict over trajectories of some cells, one at a time where each is under an input of its own."""
    import torch

    from scnode import ode

    rows = np.linspace(0, adata.n_obs - 1, min(adata.n_obs, _PILOTS)).astype(int)
    states = torch.as_tensor(np.asarray(adata.obsm[keys.latent])[rows], dtype=torch.float32)
    clock, own = cell_clock(adata, model, keys)[rows], own_control(adata, model)
    found = []
    for some in [slice(None)] if own is None else [slice(i, i + 1) for i in range(len(rows))]:
        field = model.under(None if own is None else own[rows[some]])
        ts = own_times(model, clock[some], torch.tensor([0.0, t]))
        found.append(ode.stiffness_ratio(field.mean, states[some], ts, jacobian=field.jacobian))
    names = ("ratio", "spectral_radius", "radius_times_interval", "decay_times_interval", "n_conserved")
    record: dict[str, Any] = {
        name: float(torch.cat([getattr(each, name) for each in found]).double().median()) for name in names
    }
    stiff = float(torch.cat([each.stiff for each in found]).double().mean())
    # An explicit solver is held up by its stiffest trajectories, and `auto` takes each for itself.
    solver = "dopri5" if stiff == 0 else "rodas5p" if stiff == 1 else "auto"
    return record | {"stiff": stiff, "solver": solver, "t": t}


def _time_scales(model: LatentODE, states: Tensor, jacobians: Tensor) -> tuple[np.ndarray, ...]:
    """Fastest and slowest time scale of each cell, and the directions of both modes (cell, latent)."""
    del model, states
    values, vectors = np.linalg.eig(jacobians.double().numpy())
    rates = np.maximum(np.abs(values.real), np.finfo(np.float32).eps * np.abs(values).max(1, keepdims=True))
    rates = np.maximum(rates, np.finfo(np.float32).tiny)
    ends = [rates.argmax(1), rates.argmin(1)]
    modes = [np.take_along_axis(vectors, k[:, None, None], 2)[..., 0] for k in ends]
    scales = [1 / np.take_along_axis(rates, k[:, None], 1)[:, 0] for k in ends]
    return *scales, *(_real(mode) for mode in modes)


def _real(mode: np.ndarray) -> np.ndarray:
    """The longer of the two axes of a complex mode's ellipse."""
    return np.where(np.linalg.norm(mode.real, axis=1) >= np.linalg.norm(mode.imag, axis=1), mode.real.T, mode.imag.T).T


def _modes(model: LatentODE, latent: np.ndarray, fast: np.ndarray, slow: np.ndarray) -> pd.DataFrame:
    """The genes that move most along both modes, by their root mean square share of the move."""
    import pandas as pd

    tables = []
    for name, mode in (("fast", fast), ("slow", slow)):
        loading = np.sqrt(_loadings(model, latent, mode))
        top = np.argsort(-loading)[:_GENES]
        tables.append(pd.DataFrame({"mode": name, "gene": np.array(model.genes)[top], "loading": loading[top]}))
    return pd.concat(tables, ignore_index=True)


def _loadings(model: LatentODE, latent: np.ndarray, mode: np.ndarray) -> np.ndarray:
    """Mean over the cells of every gene's squared share of the decoded mode."""
    import torch

    def shares(z: Tensor, v: Tensor) -> Tensor:
        move = model.decoder.decode_velocity(z, v)[:, : len(model.genes)].square()
        return (move / move.sum(1, keepdim=True).clamp_min(torch.finfo(move.dtype).tiny)).sum(0)

    pairs = zip(*(torch.as_tensor(a, dtype=torch.float32).split(_CHUNK) for a in (latent, mode)), strict=True)
    with torch.no_grad():
        return torch.stack([shares(z, v) for z, v in pairs]).sum(0).numpy() / len(latent)
