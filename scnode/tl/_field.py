"""Fit an ensemble of fields to what has been gathered."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._validation import near

if TYPE_CHECKING:
    from scnode.data import Snapshots
    from scnode.model import LatentODE
    from scnode.nn import Field
    from scnode.tl._gather import Gathered
    from scnode.tl._space import FitSpace


def check_field(field: str | Field, *, time_dependent: bool) -> None:
    """Refuse what is no kind of field, or cannot depend on time where it should."""
    from scnode.nn import FIELDS, Field

    if not isinstance(field, Field) and field not in FIELDS:
        raise ScnodeError(
            f"field={field!r} is unknown. {near(str(field), FIELDS)} Pass one of {sorted(FIELDS)} or a scnode.nn.Field."
        )
    if not time_dependent:
        return
    if isinstance(field, Field) and not field.time_dependent:
        raise ScnodeError(
            f"time_dependent=True, and field= is an autonomous {type(field).__name__}. Pass one that was made with "
            "time_dependent=True, or the name of its kind."
        )
    if isinstance(field, str) and not getattr(FIELDS[field], "takes_time", False):
        able = sorted(name for name, kind in FIELDS.items() if getattr(kind, "takes_time", False))
        raise ScnodeError(f"field={field!r} cannot depend on time. Pass one of {able}, or leave time_dependent= out.")


def new_model(
    space: FitSpace, field: str | Field, n_members: int, rng: np.random.Generator, *, time_dependent: bool = False
) -> LatentODE:
    import torch

    from scnode.model import LatentODE
    from scnode.nn import FIELDS

    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    n_latent = space.latent.shape[1]
    if isinstance(field, str):
        sizes = {"time_dependent": True} if time_dependent else {}
        field = FIELDS[field](n_latent, n_members=n_members, generator=generator, **sizes)
    elif field.n_latent != n_latent:
        raise ScnodeError(
            f"field= has {field.n_latent} dimensions and the latent space {n_latent}. Pass n_latent={field.n_latent}, "
            f"or use_rep= of that many columns."
        )
    return LatentODE(
        # A field of the user's is a start, and stays as it was.
        copy.deepcopy(field),
        encoder=space.encoder,
        genes=space.genes,
        transform=space.transform,
        use_rep=space.use_rep,
        batch_key=space.batches.key if space.batches else None,
        batches=space.batches.names if space.batches else (),
    )


def train_field(
    model: LatentODE,
    space: FitSpace,
    gathered: Gathered,
    snapshots: Snapshots | None,
    *,
    rng: np.random.Generator,
    **options: Any,
) -> list[dict[str, Any]]:
    """Fit the model's field in place and return the history."""
    from scnode.data import draw_paths
    from scnode.train import Examples, fit_field

    in_time = model.field.time_dependent
    if in_time and gathered.clock_report["kind"] == "cycle":
        raise ScnodeError(
            "The clock is the phase of a cycle, which begins anew in every round: no time that a field can depend on. "
            "Leave time_dependent= out, or pass time_key= with days."
        )
    target, near = gathered.target, space.evidence.neighbors.first(30)
    index, times = draw_paths(space.latent, target.velocity, near, n_steps=3, rng=rng)
    smooth = near.mean(space.latent)
    # A walker that could not go on stays, and a solver's clock must not: the extra time is negligible.
    steps = np.maximum(np.diff(times, axis=1), 1e-4)
    times = np.concatenate([np.zeros((len(times), 1)), np.minimum(steps, np.quantile(steps, 0.95)).cumsum(1)], axis=1)
    extra = _between(gathered, snapshots)
    around = _around(space.latent, target.velocity, gathered.clock, extra, rng, in_time=in_time)
    examples = Examples(
        latent=space.latent,
        velocity=target.velocity,
        precision=target.precision,
        paths=smooth[index],
        # Any origin serves an autonomous field, and 0 keeps the most digits.
        times=times + gathered.clock[:, None] if in_time else times,
        clock=gathered.clock,
        **around,
        **extra,
    )
    return fit_field(model.field, examples, rng=rng, **options)


def _between(gathered: Gathered, snapshots: Snapshots | None) -> dict[str, Any]:
    """What a time course adds to the examples."""
    if snapshots is None:
        return {}
    bridge = next(s.bridge for s in gathered.sources if s.bridge is not None)
    return {
        "snapshot": snapshots.number,
        "snapshot_times": snapshots.times,
        "bridge": bridge.latent,
        "bridge_velocity": bridge.velocity,
        "bridge_clock": bridge.clock,
        "local": 1 - gathered.target.share["time"],
    }


def _around(
    latent: np.ndarray,
    velocity: np.ndarray,
    clock: np.ndarray,
    extra: dict[str, Any],
    rng: np.random.Generator,
    *,
    in_time: bool,
) -> dict[str, Any]:
    """Surroundings of the cells and of the ways between snapshots, which are no empty space; one state a cell."""
    from scnode.data import surroundings

    n = len(latent)
    if extra:
        latent = np.concatenate([latent, extra["bridge"]])
        velocity = np.concatenate([velocity, extra["bridge_velocity"]])
        clock = np.concatenate([clock, extra["bridge_clock"]])
    outside, back = surroundings(latent, velocity, rng=rng, in_time=in_time)
    chosen = rng.permutation(len(latent))[:n] if extra else slice(None)
    return {"outside": outside[chosen], "outside_velocity": back[chosen], "outside_clock": clock[chosen]}
