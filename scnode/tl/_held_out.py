"""Cells of a held-out time, and what several methods put in their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import Keys
from scnode.metrics._wasserstein import optimal_plan
from scnode.model import stored_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


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
    interpolated, mass
        States of the displacement interpolation between two kept times, shape (pair, latent), and the share of the
        optimal plan that each carries, shape (pair,).
    size
        Number of cells of a draw.
    """

    time: float
    target: Floats
    before: Floats
    moved: Floats
    interpolated: Floats
    mass: Floats
    size: int

    @classmethod
    def of(cls, fitted: AnnData, days: Floats, time: float, *, max_cells: int, rng: np.random.Generator) -> HeldOut:
        """Clouds of a model that was fitted with `time` held out."""
        keys = Keys()
        latent = np.asarray(fitted.obsm[keys.latent], dtype=float)
        kept = np.setdiff1d(days, [time])
        last = kept[kept < time].max()
        first, second = _around(kept, time)
        before = latent[days == last]
        x, y = (_some(latent[days == end], max_cells, rng) for end in (first, second))
        interpolated, mass = _interpolate(x, y, (time - first) / (second - first))
        size = min(len(before), int((days == time).sum()) // 2, max_cells)
        return cls(
            time=time,
            target=latent[days == time],
            before=before,
            moved=_flow(fitted, before, last, time),
            interpolated=interpolated,
            mass=mass,
            size=size,
        )

    def draw(self, rng: np.random.Generator) -> tuple[Floats, dict[str, Floats]]:
        """Half of the held-out cells, and one cloud of the same size a method."""
        order = rng.permutation(len(self.target))
        rows = rng.permutation(len(self.before))[: self.size]
        # Never twice the same pair: repeats would cost this method what the others do not pay.
        pairs = rng.choice(len(self.mass), self.size, replace=False, p=self.mass)
        clouds = {
            "scnode": self.moved[rows],
            "no_motion": self.before[rows],
            "ot_interpolation": self.interpolated[pairs],
            "noise_floor": self.target[order[self.size : 2 * self.size]],
        }
        return self.target[order[: self.size]], clouds


def _around(kept: Floats, time: float) -> tuple[float, float]:
    """The kept times on both sides, or the last two where there is none after."""
    i = min(int(np.searchsorted(kept, time)), len(kept) - 1)
    return float(kept[i - 1]), float(kept[i])


def _some(cloud: Floats, most: int, rng: np.random.Generator) -> Floats:
    return cloud[rng.permutation(len(cloud))[:most]]


def _interpolate(x: Floats, y: Floats, share: float) -> tuple[Floats, Floats]:
    """States at a share of the way along the pairs of the optimal plan, and the mass of each."""
    plan = optimal_plan(x, y, p=2)
    i, j = np.nonzero(plan)
    mass = plan[i, j]
    return x[i] + share * (y[j] - x[i]), mass / mass.sum()


def _flow(fitted: AnnData, states: Floats, start: float, end: float) -> Floats:
    """Where the mean field takes states from one day to another."""
    import torch

    report = fitted.uns[Keys().uns]["report"]
    ts = torch.tensor([clock(day, report) for day in (start, end)], dtype=torch.float32)
    with torch.no_grad():
        ends = stored_model(fitted).flow(torch.as_tensor(states, dtype=torch.float32), ts)[:, 0, -1]
    return ends.numpy().astype(float)


def clock(day: float, report: Mapping[str, Any]) -> float:
    """Time of the model at a time of collection."""
    unit = report.get("time_unit")
    if unit is None:
        raise ScnodeError("The run does not say how its clock counts days. Fit with time_key=.")
    return (day - float(unit["origin"])) / float(unit["span"])
