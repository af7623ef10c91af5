"""Snapshots of cells under different inputs, each arm on a course of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from scnode.nn import Field


@dataclass(frozen=True)
class Course:
    """Snapshots that the cells of one arm go through under its input.

    Parameters
    ----------
    control
        Input, shape (control,).
    arm, snapshot
        Of the cells at each stop, shape (stop,): those of the reference may be the first.
    times
        Of the stops, increasing, shape (stop,).
    """

    control: Tensor
    arm: Tensor
    snapshot: Tensor
    times: Tensor

    def to(self, device: torch.device) -> Course:
        """On another device."""
        return Course(*(x.to(device) for x in (self.control, self.arm, self.snapshot, self.times)))

    def place(self, arm: Tensor, snapshot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of cells (cell,) those on the course, the stop of each, and its time and that of the next one, (cell, 2)."""
        at = (arm[:, None] == self.arm) & (snapshot[:, None] == self.snapshot)
        stop, here = at.long().argmax(1), at.any(1)
        following = torch.cat((self.times[1:], self.times[-1:]))
        window = torch.stack((self.times, following), 1)[stop]
        return here, stop[here], window[here]


def course_loss(
    field: Field,
    courses: Sequence[Course],
    cells: dict[str, Tensor],
    loss: Callable[..., Tensor],
) -> Tensor:
    """Mean of a loss of snapshots over the arms, by their numbers of snapshots to reach.

    Parameters
    ----------
    field
        Ensemble, under no input.
    courses
        Those of two stops and more.
    cells
        `arm` and `snapshot` (cell,), `latent` (cell, latent), `boot` (cell, member) and, it may be, `growth` (cell,).
    loss
        Called with the field under one input, and the stop, window, `states`, `weight` and `growth` of the cells on a
        course, as :func:`scnode.train._losses.snapshot_loss` takes them.
    """
    total, legs = cells["latent"].new_zeros(()), 0
    for course in courses:
        own = course.to(cells["latent"].device)
        here, stop, window = own.place(cells["arm"].long(), cells["snapshot"].long())
        growth = cells["growth"][here] if "growth" in cells else None
        on_it = {"states": cells["latent"][here], "weight": cells["boot"].T[:, here], "growth": growth}
        leg = loss(field.under(own.control), stop, window, **on_it)
        total, legs = total + (len(own.times) - 1) * leg, legs + len(own.times) - 1
    return total / legs
