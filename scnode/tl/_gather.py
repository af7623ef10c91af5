"""Everything that says how cells move, as one target in units of one clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scnode._settings import logger
from scnode.data import contradictions, find_evidence, mix, velocity_clock

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode.data import Evidence, Snapshots, Target
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
    notes
        Sentences on sources and genes that contradict the rest.
    """

    sources: list[Evidence]
    target: Target
    clock: np.ndarray
    notes: list[str]


def gather(
    adata: AnnData,
    space: FitSpace,
    snapshots: Snapshots | None,
    *,
    weights: Mapping[str, float] | None,
    rng: np.random.Generator,
    **keys: str | None,
) -> Gathered:
    """Find the evidence, mix it, and bring it to the clock: days where they are known, else the first source's."""
    sources = find_evidence(adata, space.evidence, snapshots=snapshots, rng=rng, **keys)
    target = mix(sources, weights=weights)
    clock = next((s.clock for s in sources if s.clock is not None), None)
    if clock is None:
        near = space.evidence.neighbors.first(30)
        clock = velocity_clock(space.latent, target.velocity, near)
        target = replace(target, velocity=target.velocity / _pace(space.latent, target.velocity, clock, near.index))
    for pair, cosines in target.agreement.items():
        if np.isfinite(cosines).any():
            logger.info("Agreement of %s: mean cosine %.2f.", pair.replace("|", " and "), np.nanmean(cosines))
    notes = contradictions(sources, space.evidence)
    for note in notes:
        logger.warning("%s", note)
    return Gathered(sources, target, clock, notes)


def _pace(latent: np.ndarray, velocity: np.ndarray, clock: np.ndarray, index: np.ndarray) -> float:
    """Time that the clock shows for a step to a neighbour, over the time that the velocity needs for it."""
    move = latent[index] - latent[:, None]
    square = np.maximum((velocity**2).sum(1, keepdims=True), np.finfo(float).tiny)
    needed = np.einsum("nkd,nd->nk", move, velocity) / square
    shown = clock[index] - clock[:, None]
    return max(float((needed * shown).sum() / max((needed**2).sum(), np.finfo(float).tiny)), 1e-6)
