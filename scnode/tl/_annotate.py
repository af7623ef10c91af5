"""Write a fit into its AnnData, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode.metrics import cosine
from scnode.tl._map import place

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode._keys import Keys
    from scnode.data import Snapshots
    from scnode.model import LatentODE
    from scnode.tl._gather import Gathered
    from scnode.tl._space import FitSpace


def annotate(
    adata: AnnData,
    keys: Keys,
    model: LatentODE,
    *,
    space: FitSpace,
    gathered: Gathered,
    snapshots: Snapshots | None,
    params: dict[str, Any],
    history: list[dict[str, Any]],
) -> None:
    """Place the cells that were held out, and write states, velocities, clock, report and model."""
    import pandas as pd
    import torch

    from scnode import __version__

    seen = np.ones(adata.n_obs, dtype=bool) if snapshots is None else snapshots.seen
    states = torch.as_tensor(_all_states(adata, model, space, seen, layer=params.get("layer")), dtype=torch.float32)
    with torch.no_grad():
        velocity, sd = model.velocity(states)
    if not torch.isfinite(velocity).all():
        raise ScnodeError(
            "The fitted field is not finite: the evidence is degenerate, as with most cells identical. Drop duplicated "
            "cells, or lower lr=."
        )
    agreement = _agreement(gathered, velocity.numpy(), seen)
    adata.obsm[keys.latent] = states.numpy()
    adata.obsm[keys.velocity] = velocity.numpy()
    adata.obsm[keys.evidence] = _evidence(gathered, seen)
    adata.obs[keys.time] = gathered.clock if snapshots is None else snapshots.clock
    adata.obs[keys.velocity_sd] = sd.numpy()
    for source in gathered.sources:
        adata.obs[keys.agreement(source.name)] = agreement[f"{source.name}|fit"]
    # A score of another field would be taken for one of this.
    for key in (keys.ood, keys.error_bound):
        if key in adata.obs:
            del adata.obs[key]
    adata.uns[keys.uns] = {
        "params": {k: dict(v) if isinstance(v, Mapping) else v for k, v in params.items() if v is not None},
        "history": pd.DataFrame([*space.history, *history]),
        "report": {
            "evidence": [s.source for s in gathered.sources],
            "share": gathered.target.share,
            "agreement": agreement,
            "notes": gathered.notes,
            "clock": gathered.clock_report,
            **({} if snapshots is None else {"time_unit": _time_unit(snapshots)}),
            **space.report,
        },
        "model": model.to_arrays(),
        "version": __version__,
    }


def _all_states(
    adata: AnnData, model: LatentODE, space: FitSpace, seen: np.ndarray, *, layer: str | None
) -> np.ndarray:
    if seen.all():
        return space.latent
    states = np.empty((adata.n_obs, space.latent.shape[1]))
    states[seen] = space.latent
    states[~seen] = place(adata[~seen], model, layer)[0]
    return states


def _evidence(gathered: Gathered, seen: np.ndarray) -> np.ndarray:
    """Velocity that the field was fitted to, NaN where no source speaks."""
    told = gathered.target.precision > 0
    evidence = np.full((len(seen), gathered.target.velocity.shape[1]), np.nan, dtype=np.float32)
    evidence[np.flatnonzero(seen)[told]] = gathered.target.velocity[told]
    return evidence


def _agreement(gathered: Gathered, velocity: np.ndarray, seen: np.ndarray) -> dict[str, np.ndarray]:
    """Cosine of each pair of sources and of each with the fitted field, by cell; NaN where one says nothing."""
    fitted = {f"{s.name}|fit": cosine(s.velocity, velocity[seen]) for s in gathered.sources}
    spread = {}
    for pair, cosines in {**gathered.target.agreement, **fitted}.items():
        spread[pair] = np.full(len(seen), np.nan)
        spread[pair][seen] = cosines
    return spread


def _time_unit(snapshots: Snapshots) -> dict[str, Any]:
    """What a unit of the clock is in real time."""
    return {
        "key": snapshots.key,
        "unit": snapshots.unit,
        "origin": snapshots.origin,
        "span": snapshots.span,
        "kept": snapshots.kept,
    }
