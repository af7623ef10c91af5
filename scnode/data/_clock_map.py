"""A pseudotime on a clock whose unit means the same everywhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import EvidenceError
from scnode._validation import numeric_obs
from scnode.data._evenly import evenly
from scnode.data._lift import derivative_along
from scnode.data._pseudotime import pseudotime_tangents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from scipy.interpolate import PchipInterpolator

    from scnode.data._snapshots import Snapshots
    from scnode.data._source import Evidence, Space

_MOST_STRETCHES, _FEWEST_CELLS, _MOST_KNOTS = 20, 30, 51
_LEAST_RATE = 0.1


@dataclass(frozen=True)
class ClockMap:
    """Increasing map from a pseudotime to a clock: a monotone cubic through its knots, straight beyond them.

    Parameters
    ----------
    pseudotime, clock
        Both increasing, shape (knot,).
    source
        What the clock goes by, ``"time"`` or ``"velocity"``.
    """

    pseudotime: np.ndarray
    clock: np.ndarray
    source: str

    @cached_property
    def _curve(self) -> PchipInterpolator:
        from scipy.interpolate import PchipInterpolator

        return PchipInterpolator(self.pseudotime, self.clock)

    def __call__(self, time: np.ndarray) -> np.ndarray:
        """Clock of each pseudotime."""
        slope = np.diff(self.clock) / np.diff(self.pseudotime)
        early = np.minimum(time - self.pseudotime[0], 0)
        late = np.maximum(time - self.pseudotime[-1], 0)
        return self._curve(time - early - late) + slope[0] * early + slope[-1] * late


def check_rescaling(
    adata: AnnData,
    pseudotime_key: str | None,
    *,
    velocity_key: str | None,
    time_key: str | None,
    time_dependent: bool,
) -> None:
    """Refuse to rescale a clock that nothing measures."""
    if pseudotime_key is None:
        raise EvidenceError("rescale_clock=True learns the clock of a pseudotime. Pass its column as pseudotime_key=.")
    if velocity_key is None and time_key is None:
        raise EvidenceError(
            f"rescale_clock=True needs evidence of how fast cells move, and pseudotime_key={pseudotime_key!r} only "
            "orders them. Pass velocity_key= with an RNA velocity (scnode.pp.velocity(adata) makes one) or time_key= "
            "with collection times, or leave rescale_clock= out."
        )
    if time_dependent and time_key is not None:
        raise EvidenceError(
            f"time_dependent=True takes the days of time_key={time_key!r} as the field's time, and rescale_clock=True "
            "would set another. Leave one out."
        )
    # Cells of times held out are placed on the clock too.
    numeric_obs(adata, pseudotime_key, argument="pseudotime_key")


def rescale(
    sources: Sequence[Evidence], time: np.ndarray, space: Space, snapshots: Snapshots | None
) -> tuple[list[Evidence], ClockMap]:
    """The sources, with the tangents of the pseudotime `time` (cell,) per unit of the learned clock, and its map."""
    named = {source.name: source for source in sources}
    if snapshots is None:
        found = map_by_velocity(time, space, named["velocity"].velocity)
    else:
        found = map_by_days(time, snapshots)
    clock = found(time)
    velocity, se = pseudotime_tangents(space.latent, clock, space.neighbors)
    named["pseudotime"] = replace(named["pseudotime"], velocity=velocity, se=se, clock=clock)
    return list(named.values()), found


def map_by_velocity(time: np.ndarray, space: Space, velocity: np.ndarray) -> ClockMap:
    r"""Clock from 0 to 1 in which a velocity passes the cells, in the order of their pseudotime, at its own pace.

    Only this order counts, whatever the spacing: with :math:`q_i` the share of cells before cell i, the velocity
    changes it at the rate :math:`r_i = \nabla q(z_i)\cdot v_i`, the slope by local regression. A stretch of
    :math:`\Delta q` takes the time :math:`\Delta q / \bar r`, with :math:`\bar r` the mean over its cells, and a tenth
    of the usual at least, so that the clock, their sum, increases.

    Parameters
    ----------
    time
        Pseudotime, shape (cell,).
    space
        Latent states.
    velocity
        In the latent space, shape (cell, latent), in any unit of time.
    """
    from scipy.interpolate import PchipInterpolator
    from scipy.stats import rankdata

    share = (rankdata(time) - 1) / (len(time) - 1)
    rate = derivative_along(space.latent, velocity, space.neighbors) @ share
    n = int(np.clip(len(time) // _FEWEST_CELLS, 1, _MOST_STRETCHES))
    edges = np.unique(np.quantile(share, np.linspace(0, 1, n + 1), method="nearest"))
    stretch = np.searchsorted(edges[1:-1], share, side="right")
    mean = np.bincount(stretch, rate) / np.bincount(stretch)
    forward = mean > 0
    if forward.mean() <= 0.5:
        raise EvidenceError(
            f"The velocity runs against the pseudotime in {(~forward).sum()} of {len(mean)} stretches of it: no clock "
            "agrees with both. Turn the pseudotime round if its root is wrong, or leave rescale_clock= out."
        )
    total = np.r_[0, np.cumsum(np.diff(edges) / np.maximum(mean, _LEAST_RATE * np.median(mean[forward])))]
    knots, first = np.unique(time, return_index=True)
    told = evenly(len(knots), _MOST_KNOTS)
    return ClockMap(knots[told], PchipInterpolator(edges, total / total[-1])(share[first[told]]), "velocity")


def map_by_days(time: np.ndarray, snapshots: Snapshots) -> ClockMap:
    r"""Clock of the days, on which the middle cell of a snapshot has the time of its collection.

    Cells of one day are not at one stage, and the median, unlike the mean, goes along with any increasing map: with
    :math:`m_k` the median pseudotime of snapshot k, made increasing by isotonic regression weighted by the numbers of
    cells, the clock runs through :math:`(m_k, t_k)`, and on at the pace of the first and the last two.

    Parameters
    ----------
    time
        Pseudotime, shape (cell,).
    snapshots
        Collection times of the same cells.
    """
    from sklearn.isotonic import isotonic_regression

    rows = snapshots.rows
    median, weight = np.array([np.median(time[own]) for own in rows]), np.array([len(own) for own in rows])
    knots, pool = np.unique(isotonic_regression(median, sample_weight=weight), return_inverse=True)
    if len(knots) < 2:
        raise EvidenceError(
            f"The pseudotime does not rise with the days of adata.obs[{snapshots.key!r}] (medians "
            f"{np.round(median[:5], 3).tolist()}): no clock agrees with both. Turn it round if its root is wrong, or "
            "leave rescale_clock= out."
        )
    days = np.bincount(pool, weight * snapshots.times) / np.bincount(pool, weight)
    middle = ClockMap(knots, days, "time")
    ends = np.array([time.min(), time.max()])
    outer = np.unique(np.r_[ends[0], knots, ends[1]])
    return ClockMap(outer, middle(outer), "time")
