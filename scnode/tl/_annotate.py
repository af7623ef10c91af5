"""Write a fit into its AnnData, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._settings import logger
from scnode._validation import numeric_obs
from scnode.metrics import cosine
from scnode.tl._control import own_control
from scnode.tl._map import place
from scnode.tl._rna import write_kinetics
from scnode.tl._species import report_conserved
from scnode.tl._summary import summary

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Tensor

    from scnode._keys import Keys
    from scnode.data import Snapshots
    from scnode.model import LatentODE
    from scnode.tl._gather import Gathered
    from scnode.tl._space import FitSpace
    from scnode.train import Fitted


def annotate(
    adata: AnnData,
    keys: Keys,
    model: LatentODE,
    *,
    space: FitSpace,
    gathered: Gathered,
    snapshots: Snapshots | None,
    params: dict[str, Any],
    fitted: Fitted,
) -> None:
    """Place the cells that were held out, write everything with the model, and say what was learned."""
    import pandas as pd
    import torch

    from scnode import __version__

    seen = np.ones(adata.n_obs, dtype=bool) if snapshots is None else snapshots.seen
    states = torch.as_tensor(_all_states(adata, model, space, seen, layer=params.get("layer")), dtype=torch.float32)
    clock = _clock(adata, gathered, snapshots, params)
    t, control = torch.as_tensor(clock, dtype=torch.float32)[:, None], own_control(adata, model)
    with torch.no_grad():
        velocity, sd = model.velocity(states, t=t, control=control)
    if not torch.isfinite(velocity).all():
        raise ScnodeError(
            "The fitted field is not finite: the evidence is degenerate, as with most cells identical. Drop duplicated "
            "cells, or lower lr=."
        )
    agreement = _agreement(gathered, velocity.numpy(), seen)
    figures, conserved = model.field.report(t, states), report_conserved(model, states, control)
    noise = describe_noise(model, states, velocity, snapshots)
    adata.obsm[keys.latent] = states.numpy()
    adata.obsm[keys.velocity] = velocity.numpy()
    adata.obsm[keys.evidence] = _evidence(gathered, seen)
    adata.obs[keys.time] = clock
    adata.obs[keys.velocity_sd] = sd.numpy()
    # What only some fits write must not stay from an earlier one: it would be taken for this one's.
    for key in {keys.diffusion, keys.potential, keys.growth, keys.ood, keys.error_bound} & set(adata.obs):
        del adata.obs[key]
    growth = None if snapshots is None else _growth(gathered, snapshots, params)
    if growth is not None:
        adata.obs[keys.growth] = growth.pop("rate")
    if noise is not None:
        adata.obs[keys.diffusion] = noise.pop("diffusion")
    _write_potential(adata, keys, model, states, t)
    for source in gathered.sources:
        adata.obs[keys.agreement(source.name)] = agreement[f"{source.name}|fit"]
    if space.kinetics is not None:
        write_kinetics(adata, keys, model)
    report = {
        "evidence": [s.source for s in gathered.sources],
        "share": gathered.target.share,
        "agreement": agreement,
        "notes": [*gathered.notes, *fitted.notes],
        **_clock_report(gathered),
        **({} if snapshots is None else {"time_unit": _time_unit(snapshots)}),
        **({} if growth is None else {"growth": growth}),
        **({} if noise is None else {"noise": noise}),
        **_control(model),
        **space.report,
        **conserved,
        **({"field": figures} if figures else {}),
    }
    history = [*space.history, *fitted.history]
    report["summary"] = summary(model, report, velocity.numpy(), sd.numpy(), history)
    logger.info("%s", report["summary"])
    adata.uns[keys.uns] = {
        "params": {k: dict(v) if isinstance(v, Mapping) else v for k, v in params.items() if v is not None},
        "history": pd.DataFrame(history),
        "report": report,
        "model": model.to_arrays(),
        "version": __version__,
    }


def _clock(adata: AnnData, gathered: Gathered, snapshots: Snapshots | None, params: Mapping[str, Any]) -> np.ndarray:
    """Time of every cell, held out or not."""
    if gathered.clock_map is not None:
        return gathered.clock_map(numeric_obs(adata, params["pseudotime_key"], argument="pseudotime_key"))
    return gathered.clock if snapshots is None else snapshots.clock


def _clock_report(gathered: Gathered) -> dict[str, Any]:
    """What the clock is, and where it was learned the map to it from the pseudotime."""
    import pandas as pd

    found = gathered.clock_map
    if found is None:
        return {"clock": gathered.clock_report}
    table = pd.DataFrame({"pseudotime": found.pseudotime, "clock": found.clock})
    return {"clock": {**gathered.clock_report, "scaled_by": found.source}, "clock_map": table}


def _growth(gathered: Gathered, snapshots: Snapshots, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """Rate of every cell per unit of `time_key`, where it was told or learned, its spread, and the cells' numbers."""
    if gathered.growth is None:
        return None
    rate = np.full(len(snapshots.days), np.nan)
    rate[snapshots.seen] = gathered.growth / snapshots.span
    told = [f"obs[{params['growth_key']!r}]"] if params["growth_key"] is not None else []
    given = params["coupling_key"]
    learned = ["unbalanced optimal transport" if given is None else f"obsp[{given!r}]"]
    number = np.log([len(rows) for rows in snapshots.rows])
    return {
        "rate": rate,
        "source": " corrected by ".join(told + learned if params["unbalanced"] else told),
        "deviation": float(np.nanstd(rate)),
        "numbers": np.diff(number) / np.diff(snapshots.kept),
    }


def _control(model: LatentODE) -> dict[str, Any]:
    """What the field is under."""
    if model.controls is None:
        return {}
    reference = {c.key: c.reference for c in model.controls.columns}
    return {
        "control": {"names": model.controls.names, "reference": reference, "rest": model.field.sizes.get("rest", False)}
    }


def _write_potential(adata: AnnData, keys: Keys, model: LatentODE, states: Tensor, t: Tensor) -> None:
    """Potential of every cell above the lowest, where the field has one."""
    import torch

    from scnode.nn import GradientField

    if isinstance(model.field, GradientField):
        with torch.no_grad():
            heights = model.field.potential(states, t=t)
        adata.obs[keys.potential] = (heights - heights.min()).numpy()


def _all_states(
    adata: AnnData, model: LatentODE, space: FitSpace, seen: np.ndarray, *, layer: str | None
) -> np.ndarray:
    if seen.all():
        return space.latent
    states = np.empty((adata.n_obs, space.latent.shape[1]))
    states[seen] = space.latent
    states[~seen] = place(adata[~seen], model, layer)[0]
    return states


def describe_noise(
    model: LatentODE, states: Tensor, velocity: Tensor, snapshots: Snapshots | None
) -> dict[str, Any] | None:
    """Root mean square of the diffusion by cell, its mean, and how drift compares with it over a unit of the clock."""
    import torch

    if model.diffusion is None:
        return None
    with torch.no_grad():
        square = model.diffusion(states.new_zeros(()), states).square()
    diffusion = square.mean(1).sqrt()
    return {
        "diffusion": diffusion.numpy(),
        "level": float(diffusion.mean()),
        "peclet": float((velocity.square().sum(1) / square.sum(1)).median()),
        "fitted_to": "walks" if snapshots is None else "walks and snapshots",
    }


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
