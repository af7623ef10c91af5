"""What cells are under: in a fit, and where a tool asks what if."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from scnode._errors import ScnodeError
from scnode._validation import near
from scnode.data import Arms, Controls

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Tensor

    from scnode.data import Snapshots
    from scnode.data._controls import Control
    from scnode.model import LatentODE
    from scnode.nn._inputs import Input

Level: TypeAlias = "float | str | bool | Callable[[Tensor], Tensor] | tuple[Any, ...]"


def arms_of(adata: AnnData, controls: Controls | None, snapshots: Snapshots | None, *, time_alone: bool) -> Arms | None:
    """Cells by their input; with times as the only evidence, untreated ones of a single time are at rest."""
    if controls is None:
        return None
    arms = Arms.of(controls.read(adata))
    if snapshots is None or not time_alone or arms.reference is None:
        return arms
    return replace(arms, rest=len(arms.courses(snapshots)[arms.reference]) == 1)


def own_control(adata: AnnData, model: LatentODE) -> Tensor | None:
    """Input of every cell, (cell, control), None where the field takes none."""
    import torch

    return None if model.controls is None else torch.as_tensor(model.controls.read(adata), dtype=torch.float32)


def control_of(adata: AnnData, model: LatentODE, rows: np.ndarray) -> np.ndarray | None:
    """Input of some cells, (cell, control) in double precision, None where the field takes none."""
    own = own_control(adata, model)
    return None if own is None else own.numpy().astype(float)[rows]


def chosen_control(
    adata: AnnData, model: LatentODE, rows: np.ndarray, levels: Mapping[str, Level] | None
) -> Input | None:
    """Input of start cells: that of `levels` where it names a column, else their own."""
    import torch

    from scnode.nn._inputs import Joint

    if model.controls is None:
        if levels is not None:
            raise ScnodeError(f"control={levels!r}: the field takes no input. Fit with control_key=, or leave it out.")
        return None
    given = {} if levels is None else _named(levels, model.controls)
    if set(given) < set(model.controls.keys):
        own = Controls(tuple(c for c in model.controls.columns if c.key not in given)).read(adata[rows])
    parts: list[Input] = []
    place = 0
    for column in model.controls.columns:
        if column.key in given:
            parts.append(_input(column, given[column.key]))
        else:
            parts.append(torch.as_tensor(own[:, place : place + len(column.names)], dtype=torch.float32))
            place += len(column.names)
    if all(isinstance(part, torch.Tensor) for part in parts):
        return Joint(tuple(parts))(torch.zeros(()))
    return Joint(tuple(parts))


def values_along(control: Input | None, elapsed: np.ndarray, n: int) -> np.ndarray | None:
    """Values of an input of `n` trajectories at times (step,) since their start, (trajectory, step, control)."""
    import torch

    from scnode.nn._inputs import value_at

    if control is None:
        return None
    values = [value_at(control, t) for t in torch.as_tensor(elapsed)]
    return torch.stack([v.expand(n, v.shape[-1]) for v in values], dim=1).detach().numpy().astype(float)


def _named(levels: Mapping[str, Level], controls: Controls) -> dict[str, Level]:
    if not isinstance(levels, Mapping):
        raise ScnodeError(f"control={levels!r} names no column. Pass {{{controls.keys[0]!r}: level}}.")
    for key in levels:
        if key not in controls.keys:
            raise ScnodeError(f"control= names {key!r}, no input of the field. {near(key, controls.keys)}")
    return dict(levels)


def _input(column: Control, level: Level) -> Input:
    """A level, a callable of time, or a schedule (t, values) or (t, values, kind), as the field's input."""
    import torch

    from scnode.nn import Schedule

    if callable(level):
        if column.levels:
            raise ScnodeError(
                f"{column.key!r} has levels {list(column.levels)}: no function. Pass one, or (t, levels)."
            )
        return lambda t: torch.as_tensor(level(t)) / column.scale
    if not isinstance(level, tuple):
        return torch.as_tensor(column.encode([level])[0], dtype=torch.float32)
    if len(level) not in (2, 3) or len(level[0]) != len(level[1]):
        raise ScnodeError(
            f"control={{{column.key!r}: {level!r}}} is no schedule. Pass (times, levels) of one length, in units "
            "of the clock from the start."
        )
    values = torch.as_tensor(column.encode(level[1]), dtype=torch.float32)
    return Schedule(torch.as_tensor(np.asarray(level[0], dtype=float)), values, *level[2:])


def key_list(control_key: str | Sequence[str] | None) -> str | list[str] | None:
    """As it is stored: a name, or a list of such."""
    return control_key if control_key is None or isinstance(control_key, str) else [str(key) for key in control_key]
