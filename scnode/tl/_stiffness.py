"""Time scales of the fitted field, the genes that carry them, and the solver that follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode.model import stored_model
from scnode.tl._cell_clock import cell_clock, own_times
from scnode.tl._control import own_control

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from anndata import AnnData
    from torch import Tensor

    from scnode.model import LatentODE
    from scnode.nn import Field

_CHUNK = 4096
_NUMBERS = 2**22
_PILOTS = 256
_GENES = 20


def stiffness(adata: AnnData, *, t: float = 1.0, key_added: str = DEFAULT, copy: bool = False) -> AnnData | None:
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
        No fitted model, or a length that is not positive.
    SolverError
        A Jacobian that is not finite.

    References
    ----------
    :cite:p:`HairerWanner1996`
    """
    import torch

    keys = Keys(key_added)
    model = stored_model(adata, key_added)
    if not (np.isfinite(t) and t > 0):
        raise ScnodeError(f"t={t} must be positive. Leave it out for the full range of the clock.")
    latent = np.asarray(adata.obsm[keys.latent], dtype=np.float32)
    own = own_control(adata, model)

    def under(rows: np.ndarray) -> Field:
        return model.under(None if own is None else own[rows])

    clock = cell_clock(adata, model, keys)
    record = _pilots(under, latent, own_times(model, clock, torch.tensor([0.0, float(t)])))
    chunks = np.array_split(np.arange(len(latent)), 1 + latent.size * model.n_latent // _NUMBERS)
    parts = [_time_scales(under(rows), latent[rows], clock[rows]) for rows in chunks]
    fastest, slowest, fast, slow = (np.concatenate(p) for p in zip(*parts, strict=True))
    if model.encoder is not None:
        record["modes"] = _modes(model, latent, fast, slow)
    result = adata.copy() if copy else adata
    result.obs[keys.stiffness] = slowest / fastest
    result.obs[keys.fast_time], result.obs[keys.slow_time] = fastest, slowest
    result.uns[keys.uns] = {**result.uns[keys.uns], "stiffness": record}
    return result if copy else None


def _pilots(under: Callable[[np.ndarray], Field], latent: np.ndarray, ts: Tensor) -> dict[str, Any]:
    """Verdict over trajectories of some cells, one at a time where each is under an input of its own."""
    import torch

    from scnode import ode

    rows = np.linspace(0, len(latent) - 1, min(len(latent), _PILOTS)).astype(int)
    together = [rows] if not hasattr(under(rows), "input") else rows[:, None]
    found = []
    for some in together:
        field, times = under(some), ts[torch.from_numpy(some)] if ts.ndim == 2 else ts
        states = torch.from_numpy(latent[some])
        found.append(ode.stiffness_ratio(field.mean, states, times, jacobian=field.jacobian))
    names = ("ratio", "spectral_radius", "radius_times_interval", "decay_times_interval", "n_conserved")
    record: dict[str, Any] = {
        name: float(torch.cat([getattr(each, name) for each in found]).double().median()) for name in names
    }
    stiff = float(torch.cat([each.stiff for each in found]).double().mean())
    # An explicit solver is held up by its stiffest trajectories, and `auto` takes each for itself.
    solver = "dopri5" if stiff == 0 else "rodas5p" if stiff == 1 else "auto"
    return record | {"stiff": stiff, "solver": solver, "t": float((ts[..., 1] - ts[..., 0]).reshape(-1)[0])}


def _time_scales(field: Field, latent: np.ndarray, t: Tensor) -> tuple[np.ndarray, ...]:
    """Fastest and slowest time scale of each cell, and the directions of both modes (cell, latent)."""
    import torch

    states = torch.from_numpy(latent)
    with torch.no_grad():
        matrices = field.jacobian(t, states).double().numpy()
    values, vectors = np.linalg.eig(matrices)
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
