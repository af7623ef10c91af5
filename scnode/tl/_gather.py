"""Everything that says how cells move, as one target in units of one clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._settings import logger
from scnode._validation import numeric_obs
from scnode.data import contradictions, find_evidence, find_winding, mix, rescale, velocity_clock, wrap

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode.data import ClockMap, Controls, Evidence, Snapshots, Target, Winding
    from scnode.tl._space import FitSpace


@dataclass(frozen=True)
class Gathered:
    """Evidence of the cells that a fit may see.

    Parameters
    ----------
    sources
        Each on its own.
    target
        Their mix, per unit of the clock.
    clock
        Shape (cell,).
    clock_report
        Its `kind`, ``"path"`` or ``"cycle"``, and where velocities alone set it the shares that say so.
    notes
        Sentences on sources and genes that contradict the rest.
    clock_map
        From the pseudotime to the clock, where that was learned.
    """

    sources: list[Evidence]
    target: Target
    clock: np.ndarray
    clock_report: dict[str, Any]
    notes: list[str]
    clock_map: ClockMap | None = None

    @property
    def growth(self) -> np.ndarray | None:
        """Rate at which each cell multiplies, per unit of the clock, where a source has it."""
        return next((s.growth for s in self.sources if s.growth is not None), None)


def gather(
    adata: AnnData,
    space: FitSpace,
    snapshots: Snapshots | None,
    *,
    weights: Mapping[str, float] | None,
    rng: np.random.Generator,
    controls: Controls | None = None,
    rescale_clock: bool = False,
    **keys: Any,
) -> Gathered:
    """Find the evidence, mix it, and bring it to the clock: days where they are known, else the first source's."""
    sources = find_evidence(adata, space.evidence, snapshots=snapshots, rng=rng, **keys)
    clock_map = None
    if rescale_clock:
        time = numeric_obs(adata, keys["pseudotime_key"], argument="pseudotime_key")
        sources, clock_map = rescale(sources, time, space.evidence, snapshots)
    target = mix(sources, weights=weights)
    clock = next((s.clock for s in sources if s.clock is not None), None)
    report: dict[str, Any] = {"kind": "path"}
    if clock is None:
        clock, pace, report = _clock_of_velocity(space, target.velocity)
        target = replace(target, velocity=target.velocity / pace)
    for pair, cosines in target.agreement.items():
        if np.isfinite(cosines).any():
            logger.info("Agreement of %s: mean cosine %.2f.", pair.replace("|", " and "), np.nanmean(cosines))
    notes = contradictions(sources, space.evidence)
    if controls is not None and snapshots is not None:
        notes += space.evidence.all_arms.notes(snapshots, controls)
    for note in notes:
        logger.warning("%s", note)
    return Gathered(sources, target, clock, report, notes, clock_map)


def _clock_of_velocity(space: FitSpace, velocity: np.ndarray) -> tuple[np.ndarray, float, dict[str, Any]]:
    """Clock, its pace per unit of the velocity's time, and what it is."""
    near = space.evidence.neighbors.first(30)
    winding = find_winding(space.latent, velocity, near)
    if winding.is_cycle and winding.phase is not None:
        logger.info(
            "Clock: phase on a cycle, which explains %.0f %% of the flow; a potential %.0f %%.",
            100 * winding.winding,
            100 * winding.potential,
        )
        pace = _pace(space.latent, velocity, winding.phase, near.index, periodic=True)
        return winding.phase, pace, _describe("cycle", winding)
    clock = velocity_clock(space.latent, velocity, near)
    return clock, _pace(space.latent, velocity, clock, near.index), _describe("path", winding)


def _describe(kind: str, winding: Winding) -> dict[str, Any]:
    shares = {name: float(getattr(winding, name)) for name in ("potential", "winding", "turning")}
    return {"kind": kind, **shares}


def _pace(
    latent: np.ndarray, velocity: np.ndarray, clock: np.ndarray, index: np.ndarray, *, periodic: bool = False
) -> float:
    """Time that the clock shows for a step to a neighbour, over the time that the velocity needs for it."""
    square = np.maximum((velocity**2).sum(1, keepdims=True), np.finfo(float).tiny)
    # Neighbour by neighbour: all moves at once would fill the memory.
    needed = np.stack([((latent[near] - latent) * velocity).sum(1) for near in index.T], axis=1) / square
    shown = clock[index] - clock[:, None]
    if periodic:
        shown = wrap(shown)
    return max(float((needed * shown).sum() / max((needed**2).sum(), np.finfo(float).tiny)), 1e-6)
