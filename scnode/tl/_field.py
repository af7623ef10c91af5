"""Fit an ensemble of fields to what has been gathered."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._random import torch_generator
from scnode._validation import near

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scnode.data import Arms, Controls, Snapshots
    from scnode.model import LatentODE
    from scnode.nn import Field
    from scnode.tl._gather import Gathered
    from scnode.tl._space import FitSpace
    from scnode.train import Course, Fitted

# Of a walk; rates of splicing act within one step, and make more of them dear.
_STEPS = 3


def check_field(
    field: str | Field,
    adata: AnnData,
    *,
    use_rep: str | None,
    control_key: str | Sequence[str] | None,
    time_dependent: bool,
) -> str | Field:
    """Refuse what is no kind of field or does not fit the cells; the default takes the input that there is."""
    from scnode.nn import FIELDS, Field, StoichiometricField
    from scnode.tl._species import check_species

    if not isinstance(field, Field) and field not in FIELDS:
        raise ScnodeError(
            f"field={field!r} is unknown. {near(str(field), FIELDS)} Pass one of {sorted(FIELDS)} or a scnode.nn.Field."
        )
    if field == StoichiometricField.name:
        raise ScnodeError(
            "field='stoichiometric' does not say which reactions there are. Pass "
            "field=scnode.nn.StoichiometricField(scnode.pp.stoichiometry(reactions))."
        )
    if isinstance(field, StoichiometricField):
        check_species(field, adata, use_rep)
    if time_dependent:
        _check_time(field)
    return _with_input(field, control_key)


def _check_time(field: str | Field) -> None:
    """Refuse kinds that cannot depend on time."""
    from scnode.nn import FIELDS, Field

    if isinstance(field, Field) and not field.time_dependent:
        raise ScnodeError(
            f"time_dependent=True, and field= is an autonomous {type(field).__name__}. Pass one that was made with "
            "time_dependent=True, or the name of its kind."
        )
    if isinstance(field, str) and not getattr(FIELDS[field], "takes_time", False):
        able = sorted(name for name, kind in FIELDS.items() if getattr(kind, "takes_time", False))
        raise ScnodeError(f"field={field!r} cannot depend on time. Pass one of {able}, or leave time_dependent= out.")


def _with_input(field: str | Field, control_key: str | Sequence[str] | None) -> str | Field:
    """The field, which takes an input exactly where there is one."""
    from scnode.nn import ControlledField, MLPField

    name = field if isinstance(field, str) else field.name
    takes = name == ControlledField.name if isinstance(field, str) else field.n_controls > 0
    if control_key is None:
        if takes:
            raise ScnodeError(
                f"field={name!r} needs an input. Pass control_key= with the obs column of a dose or drug."
            )
        return field
    if field == MLPField.name:
        return ControlledField.name
    if not takes:
        raise ScnodeError(
            f"field={name!r} takes no input, and control_key={control_key!r}. Leave field= out, or pass one that was "
            "made with n_controls=, such as scnode.nn.StoichiometricField(S, n_controls=1)."
        )
    return field


def new_model(
    space: FitSpace,
    field: str | Field,
    n_members: int,
    rng: np.random.Generator,
    *,
    noise: bool = False,
    controls: Controls | None = None,
    time_dependent: bool = False,
) -> LatentODE:

    from scnode.model import LatentODE
    from scnode.nn import FIELDS, Diffusion

    generator = torch_generator(rng)
    n_latent = space.latent.shape[1]
    if isinstance(field, str):
        sizes = _input_sizes(space, controls) | ({"time_dependent": True} if time_dependent else {})
        field = FIELDS[field](n_latent, n_members=n_members, generator=generator, **sizes)
        _start(field, space)
    elif field.n_latent != n_latent:
        raise ScnodeError(
            f"field= has {field.n_latent} dimensions and the latent space {n_latent}. Pass n_latent={field.n_latent}, "
            f"or use_rep= of that many columns."
        )
    diffusion = None
    if noise:
        # A stream of its own: the drift sees the same numbers with noise and without.
        own = torch_generator(rng.spawn(1)[0])
        diffusion = Diffusion(n_latent, generator=own)
    return LatentODE(
        # A field of the user's is a start, and stays as it was.
        copy.deepcopy(field),
        encoder=space.encoder,
        genes=space.genes,
        transform=space.transform,
        use_rep=space.use_rep,
        batch_key=space.batches.key if space.batches else None,
        batches=space.batches.names if space.batches else (),
        diffusion=diffusion,
        controls=controls,
    )


def _input_sizes(space: FitSpace, controls: Controls | None) -> dict[str, Any]:
    return {} if controls is None else {"n_controls": len(controls.names), "rest": space.evidence.all_arms.rest}


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
) -> Fitted:
    """Fit the model's field in place."""
    from scnode.data import draw_paths
    from scnode.train import Examples, fit_field

    in_time = model.field.time_dependent
    if in_time and gathered.clock_report["kind"] == "cycle":
        raise ScnodeError(
            "The clock is the phase of a cycle, which begins anew in every round: no time that a field can depend on. "
            "Leave time_dependent= out, or pass time_key= with days."
        )
    target, near = gathered.target, space.evidence.neighbors.first(30)
    index, times = draw_paths(
        space.latent, target.velocity, near, n_steps=_STEPS if space.kinetics is None else 1, rng=rng
    )
    smooth = near.mean(space.latent)
    # A walker that could not go on stays, and a solver's clock must not: the extra time is negligible.
    steps = np.maximum(np.diff(times, axis=1), 1e-4)
    times = np.concatenate([np.zeros((len(times), 1)), np.minimum(steps, np.quantile(steps, 0.95)).cumsum(1)], axis=1)
    extra = {} if space.kinetics else _between(gathered, snapshots, rng, most=len(space.latent))
    arms, between = space.evidence.all_arms, extra.pop("bridge_arm", None)
    if space.kinetics:
        outside, back = space.kinetics.around(space.latent, target.velocity, rng=rng)
        around: dict[str, Any] = {"outside": outside, "outside_velocity": back, "outside_clock": gathered.clock}
    else:
        around, outside_arm = _around(space, gathered, extra, between, rng, in_time=in_time)
        if space.evidence.arms is not None:
            extra |= _inputs(arms, snapshots, outside_arm, between)
    examples = Examples(
        latent=space.latent,
        velocity=space.kinetics.obeyed(space.latent, target.velocity) if space.kinetics else target.velocity,
        precision=target.precision,
        paths=smooth[index],
        # Any origin serves an autonomous field, and 0 keeps the most digits.
        times=times + gathered.clock[:, None] if in_time else times,
        clock=gathered.clock,
        **around,
        **extra,
    )
    return fit_field(model.field, examples, rng=rng, diffusion=model.diffusion, **options)


def _between(gathered: Gathered, snapshots: Snapshots | None, rng: np.random.Generator, *, most: int) -> dict[str, Any]:
    """What a time course adds to the examples, with no more states on the way than there are cells."""
    if snapshots is None:
        return {}
    bridge = next(s.bridge for s in gathered.sources if s.bridge is not None)
    n = len(bridge.latent)
    kept = np.arange(n) if n <= most else rng.permutation(n)[:most]
    return {
        "snapshot": snapshots.number,
        "snapshot_times": snapshots.times,
        "bridge": bridge.latent[kept],
        "bridge_velocity": bridge.velocity[kept],
        "bridge_clock": bridge.clock[kept],
        "bridge_arm": bridge.arm[kept],
        "local": 1 - gathered.target.share["time"],
        "growth": gathered.growth,
    }


def _inputs(
    arms: Arms, snapshots: Snapshots | None, outside_arm: np.ndarray, between: np.ndarray | None
) -> dict[str, Any]:
    """What the examples are under."""
    found = {"control": arms.control[arms.number], "outside_control": arms.control[outside_arm], "arm": arms.number}
    if snapshots is None or between is None:
        return found
    return found | {"bridge_control": arms.control[between], "courses": _courses(arms, snapshots)}


def _courses(arms: Arms, snapshots: Snapshots) -> list[Course]:
    """Of every arm that is seen to move, the snapshots that it goes through."""
    import torch

    from scnode.train import Course

    return [
        Course(
            torch.as_tensor(control, dtype=torch.float32),
            torch.from_numpy(stops[:, 0]),
            torch.from_numpy(stops[:, 1]),
            torch.as_tensor(snapshots.times[stops[:, 1]], dtype=torch.float32),
        )
        for control, stops in zip(arms.control, arms.courses(snapshots), strict=True)
        if len(stops) > 1
    ]


def _around(
    space: FitSpace,
    gathered: Gathered,
    extra: dict[str, Any],
    between: np.ndarray | None,
    rng: np.random.Generator,
    *,
    in_time: bool,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Surroundings of the cells and of the ways between snapshots, which are no empty space; one state a cell.

    Returns examples and their arms; cells of one crowd are around by themselves.
    """
    from scnode.data import surroundings

    arms, n = space.evidence.all_arms, len(space.latent)
    states, moving, clock, arm, crowd = space.latent, gathered.target.velocity, gathered.clock, arms.number, arms.crowd
    if between is not None:
        states, moving = np.concatenate([states, extra["bridge"]]), np.concatenate([moving, extra["bridge_velocity"]])
        clock, arm = np.concatenate([clock, extra["bridge_clock"]]), np.concatenate([arm, between])
        crowd = np.where(np.isin(arm, crowd), arm, -1)
    parts = []
    for label in np.unique(crowd):
        own = crowd == label
        parts.append((*surroundings(states[own], moving[own], rng=rng, in_time=in_time), clock[own], arm[own]))
    outside, back, outside_clock, outside_arm = (np.concatenate(part) for part in zip(*parts, strict=True))
    chosen = slice(None) if len(outside) == n else rng.permutation(len(outside))[:n]
    found = {"outside": outside, "outside_velocity": back, "outside_clock": outside_clock}
    return {name: values[chosen] for name, values in found.items()}, outside_arm[chosen]
