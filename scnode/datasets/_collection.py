"""When cells are collected, and of which clones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError

from ._integrate import integrate
from ._observe import start_states

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ._network import Network

SPREAD = 0.25
ASYNCHRONY = 0.1
LABELLING = 0.33
UNLABELLED = 0.2
_HOURS = 24.0
_CLONE_SIZE_SD = 0.5


@dataclass(frozen=True)
class Collection:
    """Of every cell its own time and, in a time course, the hour of its collection.

    `clone` is the number of a cell's clone, -1 for none; `founder_time` is each founder's own time at labelling.
    """

    time: NDArray[np.float64]
    hour: NDArray[np.float64] | None = None
    clone: NDArray[np.int64] | None = None
    founder_time: NDArray[np.float64] | None = None

    def columns(self) -> dict[str, Any]:
        """Columns of `obs`."""
        columns: dict[str, Any] = {"true_time": self.time}
        if self.hour is not None:
            columns["day"] = self.hour / _HOURS
        if self.clone is not None:
            columns["clone"] = _barcodes(self.clone)
        return columns


def check_collection(call: str, *, n_cells: int, n_days: int | None, n_clones: int | None) -> None:
    """Refuse days and clones that no time course can have."""
    for name, value, least in (("n_days", n_days, 2), ("n_clones", n_clones, 1)):
        if value is not None and (not isinstance(value, int | np.integer) or value < least):
            msg = f"{name}={value} is no number of {name[2:]}; call {call}({name}={least}) or more, or None."
            raise ScnodeError(msg)
    if n_days is not None and n_days > n_cells:
        msg = f"n_days={n_days} is more than the {n_cells} cells; call {call}(n_cells={n_days}) or more."
        raise ScnodeError(msg)
    if n_clones is not None and (n_days is None or n_days < 3):
        msg = (
            f"n_clones={n_clones} with n_days={n_days} leaves clones no two days after their labelling; "
            f"call {call}(n_clones={n_clones}, n_days=3) or more days."
        )
        raise ScnodeError(msg)


def collect(
    duration: float, n_cells: int, n_days: int | None, n_clones: int | None, rng: np.random.Generator
) -> Collection:
    """Draw uniform times or, given `n_days`, equal numbers at equally spaced times, and a clone of most cells."""
    if n_days is None:
        return Collection(rng.uniform(0.0, duration, n_cells))
    spacing = duration / (n_days - 1)
    hour = spacing * rng.permutation(np.arange(n_cells) % n_days)
    delay = rng.normal(0.0, ASYNCHRONY * spacing, n_cells)
    if n_clones is None:
        return Collection(np.clip(hour + delay, 0.0, duration), hour)
    labelling = LABELLING * duration
    clone = _clones(hour >= labelling, n_clones, rng)
    # A clone starts once: its members share the delay of their founder.
    founder_delay = rng.normal(0.0, ASYNCHRONY * spacing, n_clones)
    delay = np.where(clone < 0, delay, founder_delay[clone])
    return Collection(
        np.clip(hour + delay, 0.0, duration), hour, clone, np.clip(labelling + founder_delay, 0.0, duration)
    )


def _clones(after_labelling: NDArray[np.bool_], n_clones: int, rng: np.random.Generator) -> NDArray[np.int64]:
    size = rng.lognormal(0.0, _CLONE_SIZE_SD, n_clones)
    drawn = rng.choice(n_clones, size=len(after_labelling), p=size / size.sum())
    labelled = after_labelling & (rng.random(len(after_labelling)) >= UNLABELLED)
    return np.where(labelled, drawn, -1)


def run(
    network: Network,
    start: Mapping[str, float],
    collection: Collection,
    noise: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """States (cells, 2, genes) at collection; members of a clone part from the state of their founder."""
    state = start_states(network, start, len(collection.time), SPREAD, rng)
    left = collection.time
    if collection.clone is not None and collection.founder_time is not None:
        founder = start_states(network, start, len(collection.founder_time), SPREAD, rng)
        founder = integrate(network, founder, collection.founder_time, noise=noise, rng=rng)
        member = collection.clone >= 0
        state[member] = founder[collection.clone[member]]
        left = left - np.where(member, collection.founder_time[collection.clone], 0.0)
    return integrate(network, state, left, noise=noise, rng=rng)


def _barcodes(clone: NDArray[np.int64]) -> Any:
    import pandas as pd

    seen, codes = np.unique(clone[clone >= 0], return_inverse=True)
    places = np.full(len(clone), -1)
    places[clone >= 0] = codes
    return pd.Categorical.from_codes(places, categories=[f"clone_{i}" for i in seen])
