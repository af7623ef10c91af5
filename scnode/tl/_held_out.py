"""Cells of a held-out time, and what several methods put in their place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import Keys
from scnode._random import torch_generator
from scnode.data import relative_mass
from scnode.metrics import optimal_plan
from scnode.model import stored_model
from scnode.tl._coverage import leading_axes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import Tensor

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pairs:
    """States (pair, latent) that stand for pairs of cells, and the share of the optimal plan of each, (pair,)."""

    states: Floats
    mass: Floats

    @classmethod
    def along(
        cls, x: Floats, y: Floats, base: Floats, share: float, descendants: tuple[Floats, Floats] | None = None
    ) -> Pairs:
        """A share of the displacement from x to y along the optimal plan, added to what is at `base` for x.

        `descendants` are the relative numbers (cell,) that each x has become when it is at y, and when it is asked.
        """
        arrived, asked = descendants or (np.ones(len(x)), np.ones(len(x)))
        plan = optimal_plan(x, y, arrived / arrived.sum(), p=2)
        i, j = np.nonzero(plan)
        mass = plan[i, j] * (asked / arrived)[i]
        return cls(base[i] + share * (y[j] - x[i]), mass / mass.sum())

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """States by their mass, never one twice: repeats would cost this method what others do not pay."""
        return self.states[rng.choice(len(self.mass), size, replace=False, p=self.mass)]


@dataclass(frozen=True)
class HeldOut:
    """Clouds around one held-out time, in the latent space of a fit that has not seen it.

    Parameters
    ----------
    time
        The held-out time.
    target
        Its cells, shape (cell, latent).
    before, moved
        Cells of the last earlier time, and where the field takes them.
    descendants
        Relative numbers that each of these has become by then, shape (cell,), where cells multiply.
    stepped
        Where one step of the discrete model takes them, where there is such a model.
    smoothed, interpolated
        States between two kept times, along the field and straight; after the last time there are none of the first.
    size
        Number of cells of a draw.
    axes
        Leading principal axes of the kept cells, shape (latent, axis).
    """

    time: float
    target: Floats
    before: Floats
    moved: Floats
    smoothed: Pairs | None
    interpolated: Pairs
    size: int
    axes: Floats
    stepped: Floats | None = None
    descendants: Floats | None = None

    @classmethod
    def of(
        cls,
        fitted: AnnData,
        days: Floats,
        time: float,
        others: Sequence[float] = (),
        *,
        max_cells: int,
        rng: np.random.Generator,
        control: Floats | None = None,
        discrete: AnnData | None = None,
    ) -> HeldOut:
        """Clouds of a model, and of a discrete one, fitted with `time` and, it may be, others held out.

        Cells whose day is NaN are left out; those left are under one `control` (control,) where the field takes one.
        """
        flow = partial(_flow, fitted, rng=rng, control=control)
        keys = Keys()
        latent = np.asarray(fitted.obsm[keys.latent], dtype=float)
        kept = np.setdiff1d(days[~np.isnan(days)], [time, *others])
        last = kept[kept < time].max()
        first, second = _around(kept, time)
        before = latent[days == last]
        own, after = (_some(np.flatnonzero(days == end), max_cells, rng) for end in (first, second))
        x, y = latent[own], latent[after]
        growth = _growth(fitted)
        share = (time - first) / (second - first)
        size = min(len(before), int((days == time).sum()) // 2, max_cells)
        moved = flow(before, [last, time])[-1]
        return cls(
            time=time,
            target=latent[days == time],
            before=before,
            moved=moved,
            smoothed=_smooth(flow, x, y, (first, time, second), growth[own]) if time < second else None,
            interpolated=Pairs.along(x, y, x, share),
            size=size,
            axes=leading_axes(latent[np.isin(days, kept)]),
            stepped=None if discrete is None else _step(discrete, days == last, [last, time], control),
            descendants=relative_mass(growth[days == last], time - last) if growth.any() else None,
        )

    def draw(self, rng: np.random.Generator) -> tuple[Floats, dict[str, Floats]]:
        """Half of the held-out cells, and one cloud of the same size a method."""
        order = rng.permutation(len(self.target))
        mixed = rng.permutation(len(self.before))
        rows = mixed[: self.size]
        grown = rows if self.descendants is None else mixed[_spread(self.descendants[mixed], self.size, rng)]
        clouds = {
            "scnode": self.moved[grown] if self.smoothed is None else self.smoothed.draw(self.size, rng),
            "scnode_forecast": self.moved[grown],
            **({} if self.stepped is None else {"residual_map": self.stepped[rows]}),
            "no_motion": self.before[rows],
            "ot_interpolation": self.interpolated.draw(self.size, rng),
            "noise_floor": self.target[order[self.size : 2 * self.size]],
        }
        return self.target[order[: self.size]], clouds


def _around(kept: Floats, time: float) -> tuple[float, float]:
    """The kept times on both sides, or the last two where there is none after."""
    i = min(int(np.searchsorted(kept, time)), len(kept) - 1)
    return float(kept[i - 1]), float(kept[i])


def _some(rows: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rows[rng.permutation(len(rows))[:most]]


def _growth(fitted: AnnData) -> Floats:
    """Rate at which each cell multiplies, 0 where the fit has none."""
    key = Keys().growth
    if key not in fitted.obs:
        return np.zeros(fitted.n_obs)
    return np.nan_to_num(fitted.obs[key].to_numpy(dtype=float))


def _spread(number: Floats, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """As many rows as `size`, each as often as its share of the numbers says, up to the next whole one."""
    ends = np.cumsum(number / number.sum())
    return np.searchsorted(ends, (rng.random() + np.arange(size)) / size, side="right").clip(max=len(number) - 1)


def _smooth(
    flow: Callable[..., Floats], x: Floats, y: Floats, times: tuple[float, float, float], growth: Floats
) -> Pairs:
    """States of the flow from x, each with its share of what the flow misses of y at the later time."""
    start, time, end = times
    _, there, beyond = flow(x, [start, time, end])
    descendants = (relative_mass(growth, end - start), relative_mass(growth, time - start))
    return Pairs.along(beyond, y, there, (time - start) / (end - start), descendants)


def _step(fitted: AnnData, rows: NDArray[np.bool_], days: list[float], control: Floats | None) -> Floats:
    """Where one residual step takes these cells from the first day to the second."""
    import torch

    from scnode.nn import ResidualMap

    states = torch.as_tensor(np.asarray(fitted.obsm[Keys().latent])[rows], dtype=torch.float32)
    field = stored_model(fitted).under(_input(control))
    with torch.no_grad():
        return ResidualMap(field)(states, _times(fitted, days))[:, -1].numpy().astype(float)


def _input(control: Floats | None) -> Tensor | None:
    import torch

    return None if control is None else torch.as_tensor(control, dtype=torch.float32)


def _times(fitted: AnnData, days: list[float]) -> Tensor:
    import torch

    report = fitted.uns[Keys().uns]["report"]
    return torch.tensor([clock(day, report) for day in days], dtype=torch.float32)


def _flow(
    fitted: AnnData,
    states: Floats,
    days: list[float],
    *,
    rng: np.random.Generator,
    control: Floats | None = None,
) -> Floats:
    """Where mean field and noise take states from the first of these days, shape (day, cell, latent)."""
    import torch

    model, starts = stored_model(fitted), torch.as_tensor(states, dtype=torch.float32)
    ts, under = _times(fitted, days), _input(control)
    with torch.no_grad():
        if model.diffusion is None:
            paths = model.flow(starts, ts, control=under)[:, 0]
        else:
            generator = torch_generator(rng)
            paths = model.sample(starts, ts, generator=generator, control=under)[:, 0]
    return paths.transpose(0, 1).numpy().astype(float)


def clock(day: float, report: Mapping[str, Any]) -> float:
    """Time of the model at a time of collection."""
    unit = report.get("time_unit")
    if unit is None:
        raise ScnodeError("The run does not say how its clock counts days. Fit with time_key=.")
    return (day - float(unit["origin"])) / float(unit["span"])
