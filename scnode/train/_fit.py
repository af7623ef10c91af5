"""Two stages: regress the field on evidence, then polish it with the solver in the loop."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scnode._errors import ScnodeError, SolverError
from scnode._random import torch_generator
from scnode.train._losses import SURROUNDINGS
from scnode.train._stage import PATIENCE, Fitted, note, run_stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from scnode.nn import Diffusion, Field
    from scnode.train._courses import Course

# Of the epochs and of the learning rate of the regression. Chords across snapshots are a start only, and the polish is
# then the fit proper.
_POLISH, _POLISH_SNAPSHOTS = (0.125, 0.2), (0.35, 1.0)
_NOISE = 0.25
# Times the loss of a field that stands still.
_USELESS = 3.0
_ATTEMPTS, _SMALLER, _EXPLODED = 4, 0.1, 1e3
_PREPARED = 0.1
_LEAST_STEPS = 60


@dataclass(frozen=True)
class Examples:
    """What a field is fitted to.

    Parameters
    ----------
    latent, velocity
        States and their local velocities, shape (cell, latent).
    precision
        Weight of each cell, shape (cell,).
    outside, outside_velocity
        States around the cells and velocities that lead back, shape (cell, latent).
    paths, times
        Short trajectories from each cell: states (cell, step, latent) and strictly increasing times (cell, step).
    snapshot, snapshot_times
        Number of the snapshot that each cell is of, shape (cell,), and increasing times of the snapshots.
    bridge, bridge_velocity
        States between the snapshots and velocities that lead across, shape (state, latent).
    local
        Share of the evidence that is not the snapshots', and stays when these themselves are fitted.
    control, outside_control, bridge_control
        Inputs of these states, for a field that takes one, shape (cell, control).
    arm, courses
        Number of the arm that each cell is of, shape (cell,), and the snapshots that the cells of each arm go through.
    growth
        Rate at which each cell multiplies, per unit of the snapshots' times, shape (cell,); 0 by default.
    clock, outside_clock, bridge_clock
        Time of every cell and of the states around and between them, shape (cell,), (cell,) and (state,); 0 by default.
        Those of `times` are then counted on the same clock.
    """

    latent: np.ndarray
    velocity: np.ndarray
    precision: np.ndarray
    outside: np.ndarray
    outside_velocity: np.ndarray
    paths: np.ndarray
    times: np.ndarray
    snapshot: np.ndarray | None = None
    snapshot_times: np.ndarray | None = None
    bridge: np.ndarray | None = None
    bridge_velocity: np.ndarray | None = None
    local: float = 1.0
    control: np.ndarray | None = None
    outside_control: np.ndarray | None = None
    bridge_control: np.ndarray | None = None
    arm: np.ndarray | None = None
    courses: Sequence[Course] = ()
    growth: np.ndarray | None = None
    clock: np.ndarray | None = None
    outside_clock: np.ndarray | None = None
    bridge_clock: np.ndarray | None = None


def fit_field(
    field: Field,
    examples: Examples,
    *,
    max_epochs: int,
    batch_size: int,
    lr: float,
    solve_options: Mapping[str, object],
    trainer_options: Mapping[str, Any],
    rng: np.random.Generator,
    diffusion: Diffusion | None = None,
    polish: bool = True,
    resume: Path | None = None,
    restore: bool = True,
) -> Fitted:
    """Fit in place, and keep the best state on held-out cells; with `resume`, from where its files leave off.

    Without `restore` nothing is asked of states around the cells, and the field has no rim.
    """
    from scnode.train._module import CellData
    from scnode.train._noise import fit_noise, start_noise

    notes: list[str] = []
    tensors, train, validation = _tensors(examples, field.n_members, rng, notes)
    center = tensors["latent"].mean(0)
    taught = torch.cat((tensors["latent"], tensors["outside"]))
    field.set_scales(
        center=center,
        scale=tensors["latent"].std(0).mean(),
        speed=tensors["velocity"].square().sum(1).mean().sqrt(),
        # As far as there are examples: a nearer rim would have to answer for the states beyond it.
        reach=float(torch.linalg.vector_norm(taught - center, dim=1).max()) if restore else math.inf,
    )
    prepared = field.prepare(*_taught(tensors, train, around=SURROUNDINGS if restore else 0.0))
    data = CellData(tensors, train=train, validation=validation, batch_size=batch_size, generator=torch_generator(rng))
    stage = partial(
        _stage,
        field=field,
        data=data,
        options=trainer_options,
        local=examples.local,
        useless=_USELESS * _still(tensors, examples.local, restore=restore),
        courses=examples.courses,
        counts_start=prepared,
        restore=restore,
        resume=resume,
        notes=notes,
    )
    # Full steps would first lead away from a start that is the least of nearly the same loss.
    pace = _PREPARED if prepared else 1.0
    history, interrupted, smaller = stage("regression", max_epochs=max_epochs, lr=pace * lr)
    lr *= smaller
    if interrupted or not polish:
        if diffusion is not None:
            start_noise(field, diffusion, tensors)
        return Fitted(history, notes)
    regressed = copy.deepcopy(field.state_dict())
    length, pace = _POLISH if examples.snapshot is None else _POLISH_SNAPSHOTS
    epochs = max(1, round(length * max_epochs))
    try:
        history += stage("polish", max_epochs=epochs, lr=pace * lr, solve_options=dict(solve_options))[0]
    except (SolverError, KeyboardInterrupt) as error:
        field.cpu().load_state_dict(regressed)
        note(notes, f"The polish is left out and the regressed field kept: {error or 'interrupted'}")
    if diffusion is not None:
        found = fit_noise(
            field,
            diffusion,
            data,
            lr=_POLISH[1] * lr if examples.snapshot is not None else lr,
            local=examples.local,
            max_epochs=max(1, round(_NOISE * max_epochs)),
            solve_options=None if examples.snapshot is None else dict(solve_options),
            options=trainer_options,
            generator=torch_generator(rng),
            courses=examples.courses,
            resume=resume,
            restore=restore,
        )
        history += found.history
        notes += found.notes
    return Fitted(history, notes)


def _tensors(
    examples: Examples, n_members: int, rng: np.random.Generator, notes: list[str]
) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Tensors by name, and rows to train on and to hold out; cells with examples that are not finite are left out."""
    n = len(examples.latent)
    order = rng.permutation(n)
    # Bayesian bootstrap: exponential weights keep every cell, where resampling would drop a third of them.
    boot = rng.exponential(size=(n_members, n)).T if n_members > 1 else np.ones((n, 1))
    arrays = {
        "latent": examples.latent,
        "velocity": examples.velocity,
        "weight": boot * examples.precision[:, None],
        "outside": examples.outside,
        "outside_velocity": examples.outside_velocity,
        "states": examples.paths,
        "times": examples.times,
        "clock": _column(examples.clock, n),
        "outside_clock": _column(examples.outside_clock, n),
        **_time_course(examples, boot),
        **_controls(examples, n),
    }
    usable = np.logical_and.reduce([np.isfinite(a.reshape(n, -1)).all(1) for a in arrays.values()])
    if usable.sum() < 2:
        raise ScnodeError(f"{usable.sum()} of {n} cells have finite examples. Recompute the evidence of motion.")
    tensors = {name: torch.as_tensor(a[usable], dtype=torch.float32) for name, a in arrays.items()}
    place = usable.cumsum() - 1
    rows = torch.from_numpy(place[order[usable[order]]])
    n_validation = max(1, len(rows) // 10)
    if not usable.all():
        note(notes, f"{(~usable).sum()} cells whose examples are not finite are left out of the training.")
    return tensors, rows[n_validation:], rows[:n_validation]


def _column(clock: np.ndarray | None, n: int) -> np.ndarray:
    return np.zeros((n, 1)) if clock is None else clock[:, None]


def _taught(
    tensors: dict[str, torch.Tensor], train: torch.Tensor, *, around: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States, velocities and weights (member, state) of the regression's loss."""
    weight = tensors["weight"][train].T
    return (
        torch.cat((tensors["latent"][train], tensors["outside"][train])),
        torch.cat((tensors["velocity"][train], tensors["outside_velocity"][train])),
        torch.cat((weight / weight.sum(1, keepdim=True), torch.full_like(weight, around / len(train))), 1),
    )


def _time_course(examples: Examples, boot: np.ndarray) -> dict[str, np.ndarray]:
    """Of every cell its snapshot, the time until the next one, its weight in its snapshot, and a state on the way."""
    if examples.snapshot is None or examples.snapshot_times is None:
        return {}
    following = np.append(examples.snapshot_times[1:], examples.snapshot_times[-1])
    window = np.stack([examples.snapshot_times, following], axis=1)[examples.snapshot]
    arrays = {"snapshot": examples.snapshot, "window": window, "boot": boot}
    if examples.growth is not None:
        arrays["growth"] = examples.growth
    if examples.bridge is not None and examples.bridge_velocity is not None:
        row = np.resize(np.arange(len(examples.bridge)), len(boot))
        arrays |= {"bridge": examples.bridge[row], "bridge_velocity": examples.bridge_velocity[row]}
        arrays["bridge_clock"] = _column(examples.bridge_clock, len(examples.bridge))[row]
    return arrays


def _controls(examples: Examples, n: int) -> dict[str, np.ndarray]:
    """Inputs of all states, and the arm of every cell."""
    arrays = {
        "latent_control": examples.control,
        "outside_control": examples.outside_control,
        "bridge_control": examples.bridge_control,
        "arm": examples.arm,
    }
    return {name: a[np.resize(np.arange(len(a)), n)] for name, a in arrays.items() if a is not None}


def _stage(
    stage: str,
    *,
    field: Field,
    data: Any,
    max_epochs: int,
    lr: float,
    options: Mapping[str, Any],
    local: float,
    useless: float,
    notes: list[str],
    courses: Sequence[Course] = (),
    counts_start: bool = False,
    restore: bool = True,
    solve_options: dict[str, object] | None = None,
    resume: Path | None = None,
) -> tuple[list[dict[str, Any]], bool, float]:
    """Fit the field, from its best state with smaller steps where the loss explodes.

    Returns the history, whether the user interrupted, and by how much the steps were made smaller.
    """
    from scnode.train._module import FieldModule

    history: list[dict[str, Any]] = []
    start, pace = copy.deepcopy(field.state_dict()), 1.0
    for attempt in range(_ATTEMPTS):
        module = FieldModule(
            field, lr=pace * lr, local=local, solve_options=solve_options, courses=courses, restore=restore
        )
        found = run_stage(
            module,
            data,
            stage=stage,
            max_epochs=max_epochs,
            options=options,
            patience=_patience(len(data.train), data.batch_size),
            counts_start=counts_start,
            resume=resume,
            attempt=attempt,
            marks={"lr": pace * lr, "batch_size": data.batch_size, **(solve_options or {})},
        )
        field.cpu()
        note(notes, *module.troubles(stage))
        history += [{**epoch, "epoch": len(history) + i} for i, epoch in enumerate(found.history)]
        if found.interrupted:
            notes.append(f"Interrupted after {len(history)} epochs of the {stage}: its best state is kept.")
        losses = [epoch["validation_loss"] for epoch in found.history]
        lost = solve_options is None and not min(losses, default=0.0) < useless
        if found.interrupted or attempt == _ATTEMPTS - 1 or not (lost or _exploded(losses)):
            break
        if lost:
            field.load_state_dict(start)
        pace *= _SMALLER
        whence = "begins anew" if lost else "goes on from its best state"
        note(
            notes,
            f"The loss of the {stage} exploded in epoch {len(history) - 1}: the fit {whence} with lr={pace * lr:g}.",
        )
    return history, found.interrupted, pace


def _patience(n_cells: int, batch_size: int) -> int:
    """Epochs without gain before a stage ends; of few cells an epoch is a step or two, and says little."""
    return max(PATIENCE, math.ceil(_LEAST_STEPS / math.ceil(n_cells / batch_size)))


def _still(tensors: dict[str, torch.Tensor], local: float, *, restore: bool) -> float:
    """Loss of the regression of a field that stands still."""
    unit, loss = tensors["velocity"].square().sum(1).mean(), local
    for states, weight in (("outside", SURROUNDINGS if restore else 0.0), ("bridge", 1 - local)):
        if weight and f"{states}_velocity" in tensors:
            loss += weight * float(tensors[f"{states}_velocity"].square().sum(1).mean() / unit)
    return loss


def _exploded(losses: Sequence[float]) -> bool:
    """Whether the last loss is not finite, or far above the least; those below 1 are of no concern."""
    return bool(losses) and not losses[-1] <= max(1.0, _EXPLODED * min(losses))
