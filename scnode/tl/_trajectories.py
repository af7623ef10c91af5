"""Roll cells forward along the fitted field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._random import random_source, torch_generator
from scnode._settings import logger
from scnode._typing import RandomState
from scnode._validation import near
from scnode._write import written
from scnode.data import evenly
from scnode.model import stored_model
from scnode.tl._cell_clock import cell_clock, own_times
from scnode.tl._control import Level, chosen_control, own_control, values_along
from scnode.tl._trust import Trust, judge_trajectories

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode.model import LatentODE

Start = Sequence[str] | np.ndarray | Mapping[str, Sequence[str]] | None
_EARLIEST = 0.1
_BYTES = 1 << 30
_STEPS = 40
_N_ASKED = 500


def trajectories(
    adata: AnnData,
    *,
    start: Start = None,
    t: float | None = None,
    n_steps: int = 50,
    n_samples: int = 1,
    noise: bool | None = None,
    solver: str | None = None,
    control: Mapping[str, Level] | None = None,
    rng: RandomState = 0,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Integrate :math:`\dot z = f(z)`, or draw from :math:`dz = f(z)\,dt + G(z)\,dW`, from start cells.

    A field that was fitted with `control_key` is :math:`f(z, u(t))`; one that depends on time is followed from the
    clock of each start.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit`.
    start
        Cells to start from: `obs_names`, a boolean mask, or ``{"clusters": ["Ductal"]}``; by default the earliest
        tenth on the clock.
    t
        Length of the trajectories in units of the clock, 1 (its full range) by default.
    n_steps
        Number of times, the start included.
    n_samples
        With noise, the number of stochastic trajectories from each start, all of the ensemble mean. Without, 1 follows
        the ensemble mean; more follow one member each, up to the size of the ensemble.
    noise
        Whether to draw stochastic trajectories, in steps of at most a fortieth of `t`; by default where the model has
        a diffusion.
    solver
        With noise one of :func:`scnode.ode.solve_sde`, by default ``"srk2"``, or ``"implicit_euler"`` where the field
        is too stiff at some cell for explicit steps; without, one of :func:`scnode.ode.solve`, ``"auto"`` by default.
    control
        What the cells are under from the start on, where the field was fitted with `control_key`: column to level, in
        the units of the column; to a function of the time, which takes a tensor and returns one; or to a schedule
        ``(times, levels)``, each level from its time until the next one, or ``(times, levels, "linear")``. Times are
        in units of the clock from the start. Columns that it does not name are each cell's own.
    rng
        Source of the noise.
    key_added, copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``uns["scnode"]["trajectories"]``: `t` (step,) since the start, `latent` (start, sample, step, latent),
        `start` names, and of a field under an input `control` (start, step, control), as the field takes it. After
        :func:`scnode.tl.ood` also `ood`, the probability that a state should not be believed, and of an ensemble
        `radius`, within which it lies with probability 0.9 in latent units, both (start, sample, step).

    Raises
    ------
    ScnodeError
        No fitted model, no start cell, more samples than members, noise asked of a model without a diffusion, more
        states than 1 GiB holds, or an input that the field does not have.
    SolverError
        A trajectory that could not be integrated.
    """
    import torch

    keys = Keys(key_added)
    model = stored_model(adata, key_added)
    rows = start_rows(adata, start, keys)
    length = 1.0 if t is None else float(t)
    if not length > 0 or n_steps < 2:
        raise ScnodeError(f"t={length} must be positive and n_steps={n_steps} at least 2. Leave them out.")
    noisy = model.diffusion is not None if noise is None else noise
    _check_samples(model, n_samples, noisy=noisy, size=len(rows) * n_steps * model.n_latent)
    if length > 1:
        logger.warning("t=%g is beyond the range of the clock, 1, which no cells have crossed.", length)
    ts = torch.linspace(0, length, n_steps)
    states = torch.as_tensor(np.asarray(adata.obsm[keys.latent])[rows], dtype=torch.float32)
    under = chosen_control(adata, model, rows, control)
    with torch.no_grad():
        if noisy:
            generator = torch_generator(random_source(rng))
            step = length / _STEPS
            solver = solver or _noisy_solver(model, adata, keys, step)
            stochastic: dict[str, Any] = {"solver": solver, "step": step, "control": under}
            paths = model.sample(states, ts, n_samples=n_samples, generator=generator, **stochastic)
        else:
            own = own_times(model, cell_clock(adata, model, keys)[rows], ts)
            options: dict[str, Any] = {"control": under} | ({} if solver is None else {"solver": solver})
            paths = model.flow(states, own, members=n_samples > 1, **options)[:, :n_samples]
    stored = {"t": ts.numpy(), "latent": paths.numpy(), "start": adata.obs_names[rows].to_numpy().astype(str)}
    if under is not None:
        stored["control"] = values_along(under, stored["t"], len(rows))
    begin = cell_clock(adata, model, keys)[rows, 0].numpy().astype(float)
    stored = judge_trajectories(Trust.stored(adata, keys, model), stored, begin)
    with written(adata, copy=copy) as result:
        result.uns[keys.uns] = {**result.uns[keys.uns], "trajectories": stored}
    return result if copy else None


def _noisy_solver(model: LatentODE, adata: AnnData, keys: Keys, step: float) -> str:
    """Explicit where such steps are stable at the cells: a rate times the step below 1, half of what they bear."""
    import torch

    few = evenly(adata.n_obs, _N_ASKED)
    states = torch.as_tensor(np.asarray(adata.obsm[keys.latent])[few], dtype=torch.float32)
    control = own_control(adata, model)
    field = model.under(None if control is None else control[few])
    rates = torch.linalg.eigvals(field.jacobian(cell_clock(adata, model, keys)[few], states)).abs()
    return "srk2" if float(rates.max()) * step < 1 else "implicit_euler"


def _check_samples(model: LatentODE, n_samples: int, *, noisy: bool, size: int) -> None:
    if noisy and model.diffusion is None:
        raise ScnodeError("noise=True asks for a diffusion, and the model has none. Run scnode.tl.fit(noise=True).")
    if not noisy and not 1 <= n_samples <= model.field.n_members:
        raise ScnodeError(
            f"n_samples={n_samples} must lie between 1 and the {model.field.n_members} members of the ensemble. "
            "Fit with a larger n_members= or, to draw any number, with noise=True."
        )
    if n_samples < 1:
        raise ScnodeError(f"n_samples={n_samples} must be at least 1. Leave it out for one trajectory a start.")
    # A file that keeps them, and every later copy of the cells, would be as large.
    if 4 * size * n_samples > _BYTES:
        raise ScnodeError(
            f"n_samples={n_samples} asks for {4 * size * n_samples / 2**30:.1f} GiB of states. Pass fewer samples, "
            "n_steps= or start= cells."
        )


def start_rows(adata: AnnData, start: Start, keys: Keys) -> np.ndarray:
    """Row numbers of the start cells."""
    if start is None:
        if keys.time not in adata.obs:
            raise ScnodeError(f"adata.obs[{keys.time!r}] not found: no cell is known to be early. Pass start=.")
        time = adata.obs[keys.time].to_numpy()
        return np.argsort(time, kind="stable")[: max(1, round(_EARLIEST * len(time)))]
    if isinstance(start, Mapping):
        rows = _rows_of_groups(adata, start)
    elif np.asarray(start).dtype == bool:
        mask = np.asarray(start)
        if mask.shape != (adata.n_obs,):
            raise ScnodeError(f"start= is a mask of shape {mask.shape} for {adata.n_obs} cells. Pass one per cell.")
        rows = np.flatnonzero(mask)
    else:
        names = [start] if isinstance(start, str) else list(start)
        rows = adata.obs_names.get_indexer(names)
        if (rows < 0).any():
            unknown = names[int(np.flatnonzero(rows < 0)[0])]
            raise ScnodeError(f"start= names {unknown!r}, not in adata.obs_names. {near(unknown, adata.obs_names)}")
    if not len(rows):
        raise ScnodeError("start= selects no cell. Name obs_names, a mask, or {'clusters': ['Ductal']}.")
    return rows


def _rows_of_groups(adata: AnnData, start: Mapping[str, Sequence[str]]) -> np.ndarray:
    mask = np.ones(adata.n_obs, dtype=bool)
    for key, groups in start.items():
        if key not in adata.obs:
            raise ScnodeError(f"adata.obs[{key!r}] not found. {near(key, adata.obs.columns)} Pass it in start=.")
        column = adata.obs[key].astype(str)
        wanted = [str(g) for g in ([groups] if isinstance(groups, str) else groups)]
        for group in wanted:
            if group not in set(column):
                raise ScnodeError(f"{group!r} is no group of adata.obs[{key!r}]. {near(group, sorted(set(column)))}")
        mask &= column.isin(wanted).to_numpy()
    return np.flatnonzero(mask)
