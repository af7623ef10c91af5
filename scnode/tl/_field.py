"""Fit an ensemble of fields to what has been gathered."""

from __future__ import annotations

import copy
from functools import partial
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

# Of a walk; rates of splicing act within one step, and make more of them dear.
_STEPS = 3


def check_field(field: str | Field) -> None:
    """Refuse what is no kind of field."""
    from scnode.nn import FIELDS, Field

    if not isinstance(field, Field) and field not in FIELDS:
        raise ScnodeError(
            f"field={field!r} is unknown. {near(str(field), FIELDS)} Pass one of {sorted(FIELDS)} or a scnode.nn.Field."
        )


def new_model(space: FitSpace, field: str | Field, n_members: int, rng: np.random.Generator) -> LatentODE:
    import torch

    from scnode.model import LatentODE
    from scnode.nn import FIELDS

    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    n_latent = space.latent.shape[1]
    if isinstance(field, str):
        field = FIELDS[field](n_latent, n_members=n_members, generator=generator)
        _start(field, space)
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


def _start(field: Field, space: FitSpace) -> None:
    """Rates of splicing and degradation are regressed before the field is fitted."""
    import torch

    from scnode.nn import RNAField

    if isinstance(field, RNAField) and space.kinetics is not None:
        field.set_rates(**{name: torch.as_tensor(rate) for name, rate in vars(space.kinetics).items()})


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

    target, near = gathered.target, space.evidence.neighbors.first(30)
    index, times = draw_paths(
        space.latent, target.velocity, near, n_steps=_STEPS if space.kinetics is None else 1, rng=rng
    )
    smooth = near.mean(space.latent)
    # A walker that could not go on stays, and a solver's clock must not: the extra time is negligible.
    steps = np.maximum(np.diff(times, axis=1), 1e-4)
    times = np.concatenate([np.zeros((len(times), 1)), np.minimum(steps, np.quantile(steps, 0.95)).cumsum(1)], axis=1)
    extra = {} if space.kinetics else _between(gathered, snapshots)
    around = space.kinetics.around if space.kinetics else partial(_around, extra=extra)
    outside, back = around(space.latent, target.velocity, rng=rng)
    examples = Examples(
        latent=space.latent,
        velocity=space.kinetics.obeyed(space.latent, target.velocity) if space.kinetics else target.velocity,
        precision=target.precision,
        outside=outside,
        outside_velocity=back,
        paths=smooth[index],
        times=times,
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
        "local": 1 - gathered.target.share["time"],
    }


def _around(
    latent: np.ndarray, velocity: np.ndarray, *, extra: dict[str, Any], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Surroundings of the cells and of the ways between snapshots, which are no empty space; one state a cell."""
    from scnode.data import surroundings

    if extra:
        states = np.concatenate([latent, extra["bridge"]])
        moving = np.concatenate([velocity, extra["bridge_velocity"]])
        outside, back = surroundings(states, moving, rng=rng)
        chosen = rng.permutation(len(states))[: len(latent)]
        return outside[chosen], back[chosen]
    return surroundings(latent, velocity, rng=rng)
