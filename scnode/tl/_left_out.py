"""Forecasts by fields that have not seen some of the cells, beside what the whole fit and the cells say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode.data import evenly
from scnode.model import LatentODE
from scnode.tl._calibration import Example
from scnode.tl._committor import signal_axes
from scnode.tl._path_parts import Ground, beside, path_parts, spread_of
from scnode.tl._refit import refit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from scnode.nn import Field

    Floats = NDArray[np.float64]

N_REGIONS, N_FOLDS = 8, 4
_N_SEEN, _N_UNSEEN = 200, 100
_N_STEPS, _N_DAYS = 17, 20
_N_NEAREST = 15
# Cells this far apart on the clock are of different times, and a target at most this far off is there.
_WINDOW, _OFF = 0.05, 0.03


@dataclass(frozen=True)
class Population:
    """Cells in time: what is found at a place and a time.

    Parameters
    ----------
    latent, smooth
        States of the cells, and their means over neighbours, shape (cell, latent).
    clock
        Time of each, shape (cell,).
    cyclic
        Whether the clock is a phase in [0, 1).
    control
        Input of each, shape (cell, control), None where the field takes none.
    """

    latent: Floats
    smooth: Floats
    clock: Floats
    cyclic: bool
    control: Floats | None = None

    def under(self, rows: NDArray[Any]) -> Floats | None:
        """Input of some cells."""
        return None if self.control is None else self.control[rows]

    def steps(self) -> Floats:
        """Times after the start at which there are cells to compare with, from 0 to the range of the clock."""
        times = np.unique(self.clock)
        even = np.linspace(0, 1, _N_STEPS)
        if len(times) > _N_DAYS:
            return even
        gaps = np.unique((times[:, None] - times).round(3))
        gaps = gaps[gaps > 0]
        few = gaps[evenly(len(gaps), _N_DAYS)]
        grid = np.unique(np.concatenate([even[::2], few]).round(3))
        return grid[np.append(True, np.diff(grid) > 1e-3)]

    def snap(self, start: Floats, ts: Floats, paths: Floats, control: Floats | None = None) -> Floats:
        """Paths (path, step, latent) under `control` moved to the nearest cells of their time where there are such."""
        from sklearn.neighbors import NearestNeighbors

        axes, center = signal_axes(self.latent), self.latent.mean(0)
        unit = spread_of(self.latent)
        width, when = unit / _WINDOW, start[:, None] + ts
        here = np.concatenate([(self.smooth - center) @ axes, width * self._hands(self.clock)], axis=-1)
        wanted = np.concatenate([(paths - center) @ axes, width * self._hands(when)], axis=-1)
        here, wanted = beside(here, self.control, unit), beside(wanted, control, unit)
        search = NearestNeighbors(n_neighbors=min(_N_NEAREST, len(here))).fit(here)
        found = search.kneighbors(wanted.reshape(-1, here.shape[1]), return_distance=False)
        off = self._hands(self.clock)[found].mean(1).reshape(*when.shape, -1) - self._hands(when)
        met = np.linalg.norm(off, axis=-1, keepdims=True) < _OFF
        return np.where(met, self.smooth[found].mean(1).reshape(paths.shape), paths)

    def _hands(self, time: Floats) -> Floats:
        """Coordinates of a time, in which a phase closes."""
        if not self.cyclic:
            return time[..., None]
        angle = 2 * np.pi * time
        return np.stack([np.cos(angle), np.sin(angle)], axis=-1) / (2 * np.pi)


def held_out_ratio(field: Field, population: Population, evidence: Floats, rng: np.random.Generator) -> float:
    """How much larger the residual against evidence is at cells that a field has not seen."""
    out = rng.random(len(evidence)) < 0.2
    if not out.any() or out.all():
        return 1.0
    fresh = _without(out, field, population, evidence, rng)
    square = ((velocity_of(fresh, population) - evidence) ** 2).sum(1)
    return max(1.0, float(np.sqrt(square[out].mean() / max(square[~out].mean(), np.finfo(float).tiny))))


def _without(
    out: NDArray[np.bool_], field: Field, population: Population, velocity: Floats, rng: np.random.Generator
) -> Field:
    """A field that has not seen some of the cells."""
    p, kept = population, ~out
    return refit(field, p.latent[kept], velocity[kept], p.clock[kept], p.under(kept), rng=rng)


def velocity_of(field: Field, population: Population) -> Floats:
    """Velocity of the ensemble mean, shape (cell, latent)."""
    import torch

    states, times = (torch.as_tensor(a, dtype=torch.float32) for a in (population.latent, population.clock))
    if population.control is not None:
        field = field.under(torch.as_tensor(population.control, dtype=torch.float32))
    with torch.no_grad():
        return field.mean(times[:, None], states).numpy().astype(float)


def regions(smooth: Floats, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """Masks of compact parts of the latent space."""
    from sklearn.cluster import KMeans

    label = KMeans(N_REGIONS, n_init=1, random_state=int(rng.integers(2**31))).fit_predict(smooth)
    return [label == k for k in range(N_REGIONS)]


def forecasts(
    model: LatentODE,
    ground: Ground,
    population: Population,
    velocity: Floats,
    left_out: Iterable[NDArray[np.bool_]],
    *,
    rng: np.random.Generator,
) -> Example:
    """Refit without each part and forecast from cells in and out of what is left, at all steps.

    The truth of a forecast is the path of one member of the whole fit, drawn anew for each cell, from the mean of its
    neighbours, moved to the cells of that time: it knows what was left out, the noise of the start, the doubt of the
    ensemble, and whether the cells keep up with the field.
    """
    ts, field = population.steps(), model.field
    found = []
    for number, out in enumerate(left_out):
        fresh = _without(out, field, population, velocity, rng)
        rows = _starts(out, rng)
        begin, control = population.clock[rows], population.under(rows)
        own = begin[:, None] + ts if field.time_dependent else ts
        paths = _flow(model, fresh, population.latent[rows], own, control)[:, 0]
        truth = _flow(model, field, population.smooth[rows], own, control, members=True)
        truth = truth[np.arange(len(rows)), rng.integers(field.n_members, size=len(rows))]
        along = None if control is None else control[:, None].repeat(len(ts), axis=1)
        truth = population.snap(begin, ts, truth, along)
        error = np.linalg.norm(paths - truth, axis=-1)
        parts = path_parts(fresh, ground.of(~out), ts, paths, begin, along)
        parts = {name: values.ravel() for name, values in parts.items()}
        found.append(Example(parts, error.ravel(), np.repeat(~out[rows], len(ts)), np.full(error.size, number)))
    return Example.joined(found)


def _starts(out: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    seen, unseen = rng.permutation(np.flatnonzero(~out)), rng.permutation(np.flatnonzero(out))
    return np.concatenate([seen[:_N_SEEN], unseen[:_N_UNSEEN]])


def _flow(
    model: LatentODE, field: Field, states: Floats, ts: Floats, control: Floats | None, *, members: bool = False
) -> Floats:
    """Trajectories (start, member, step, latent) of a field in place of the model's."""
    import torch

    start, times = (torch.as_tensor(a, dtype=torch.float32) for a in (states, ts))
    under = None if control is None else torch.as_tensor(control, dtype=torch.float32)
    other = LatentODE(field, controls=model.controls)
    with torch.no_grad():
        return other.flow(start, times, members=members, control=under).numpy().astype(float)
