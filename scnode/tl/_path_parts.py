"""What the trust score is made of, along trajectories of one field."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from scnode.data import Neighbors, Support
from scnode.tl._committor import signal_axes
from scnode.tl._coverage import leading_axes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from scnode.nn import Field

    Floats = NDArray[np.float64]

PARTS = ("distance", "disagreement", "jacobian_norm", "ftle", "error_bound")
_N_NEAREST = 30
_CHUNK = 2**19
# Every step of every path costs decompositions of a Jacobian, cubic in its size.
_FEW_DIMENSIONS, _MOST_AXES = 100, 50
_LARGEST = 1e6


@dataclass(frozen=True)
class Ground:
    """What is known of the cells that a field was fitted to.

    Parameters
    ----------
    latent
        Their states, shape (cell, latent).
    noise
        Distance of each from what its neighbours share, shape (cell,).
    field_error
        Error of the field at each, in latent units per unit of the clock, shape (cell,).
    control
        Input of each, shape (cell, control), None where the field takes none.
    """

    latent: Floats
    noise: Floats
    field_error: Floats
    control: Floats | None = None

    @property
    def spread(self) -> float:
        """Root mean square distance of the cells from their mean."""
        return spread_of(self.latent)

    @cached_property
    def support(self) -> Support:
        """Where the cells are, and under what."""
        return Support(beside(self.latent, self.control, self.spread))

    @cached_property
    def axes(self) -> Floats | None:
        """Leading principal axes of the cells (latent, axis), None where these have few dimensions."""
        return None if self.latent.shape[1] <= _FEW_DIMENSIONS else leading_axes(self.latent, _MOST_AXES)

    def of(self, rows: NDArray[np.bool_]) -> Ground:
        """Some of the cells."""
        control = None if self.control is None else self.control[rows]
        return Ground(self.latent[rows], self.noise[rows], self.field_error[rows], control)


def spread_of(latent: Floats) -> float:
    """Root mean square distance of states (cell, latent) from their mean."""
    return float(np.sqrt(latent.var(0).sum())) + np.finfo(float).tiny


def beside(states: Floats, control: Floats | None, unit: float) -> Floats:
    """States (..., latent) and after them their inputs, of which one unit is as far as the cells spread."""
    return states if control is None else np.concatenate([states, unit * control], axis=-1)


def shared(latent: Floats, values: Floats, control: Floats | None = None) -> Floats:
    """Mean of values (cell, ...) over each cell's nearest others, along the axes that neighbours share."""
    axes = (latent - latent.mean(0)) @ signal_axes(latent)
    near = Neighbors.of(beside(axes, control, spread_of(latent)), k=_N_NEAREST + 1)
    return values[near.index[:, 1:]].mean(1)


def path_parts(  # noqa: PLR0917
    field: Field, ground: Ground, ts: Floats, paths: Floats, begin: Floats, control: Floats | None = None
) -> dict[str, Floats]:
    """Every part of PARTS at every step of paths (path, step, latent), each of shape (path, step).

    `ts` (step,) are times since the start, at which the clock shows `begin` (path,); a field that takes an input is
    under `control` (path, step, control).
    """
    # Few enough for the Jacobians of all to be taken at once.
    n = max(1, _CHUNK // (paths.shape[1] * paths.shape[2] ** 2))
    parts = [slice(i, i + n) for i in range(0, len(paths), n)]
    chunks = [_parts(field, ground, ts, paths[i], begin[i], None if control is None else control[i]) for i in parts]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _parts(  # noqa: PLR0917
    field: Field, ground: Ground, ts: Floats, paths: Floats, begin: Floats, control: Floats | None
) -> dict[str, Floats]:
    import torch

    from scnode import ode

    distance, index = ground.support.nearest(beside(paths, control, ground.spread))
    if control is not None:
        field = field.under(torch.as_tensor(control, dtype=torch.float32).flatten(0, 1))
    when = begin[:, None] + ts if field.time_dependent else ts
    states, clock = (torch.as_tensor(a, dtype=torch.float32) for a in (paths, when))
    along = ode.measure_along(
        field.mean,
        clock,
        states,
        jacobian=field.jacobian,
        defect=torch.as_tensor(ground.field_error[index].mean(-1)),
        initial_error=torch.as_tensor(ground.noise[index[:, 0]].mean(-1)),
        directions=None if ground.axes is None else torch.as_tensor(ground.axes),
    )
    parts = {
        "distance": mean_so_far(ts, _apart(distance) / ground.support.usual),
        "jacobian_norm": mean_so_far(ts, along.spectral_norm.numpy()),
        "ftle": along.ftle.numpy(),
        "error_bound": np.minimum(along.bound.numpy() / ground.spread, _LARGEST),
    }
    if field.n_members > 1:
        parts["disagreement"] = mean_so_far(ts, _disagreement(field, clock, states))
    return {name: np.asarray(parts[name], dtype=float) for name in PARTS if name in parts}


def _apart(distance: Floats) -> Floats:
    """Mean distance to other cells: a cell is no neighbour of its own."""
    return distance.sum(-1) / np.maximum((distance > 0).sum(-1), 1)


def _disagreement(field: Field, clock: Tensor, states: Tensor) -> Floats:
    """Root mean square deviation of the members' velocities, over the usual speed of the cells."""
    import torch

    with torch.no_grad():
        members = field.members(clock.expand(states.shape[:2]).reshape(-1, 1), states.flatten(0, 1))
    sd = (members - members.mean(0)).square().sum(-1).mean(0).sqrt() / field.speed
    return sd.unflatten(0, states.shape[:2]).numpy().astype(float)


def mean_so_far(ts: Floats, values: Floats) -> Floats:
    """Mean over time of values (path, step) from the first step to each."""
    area = np.cumsum((values[:, 1:] + values[:, :-1]) / 2 * np.diff(ts), axis=1)
    return np.concatenate([values[:, :1], area / (ts[1:] - ts[0])], axis=1)
