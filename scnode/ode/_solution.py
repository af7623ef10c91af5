"""What a solve returns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Status(IntEnum):
    """How the integration of one trajectory ended."""

    SUCCESS = 0
    NON_FINITE = 1


@dataclass
class Stats:
    """Work done by one solve, summed over its whole batch.

    Parameters
    ----------
    n_evaluations
        Calls of the vector field, each on the whole batch.
    n_steps
        Accepted steps.
    n_rejected
        Steps refused by the error control.
    """

    n_evaluations: int = 0
    n_steps: int = 0
    n_rejected: int = 0


@dataclass(frozen=True)
class Solution:
    """Trajectories of a batch of initial states.

    Parameters
    ----------
    ts
        Times asked for, shape (time,) or (batch, time).
    ys
        States at those times, shape (batch, time, state).
    stats
        Counts of steps, rejections and evaluations.
    status
        One :class:`Status` per trajectory, shape (batch,).
    cost
        Running cost accumulated to each time, shape (batch, time); None when none was asked for.
    """

    ts: Tensor
    ys: Tensor
    stats: Stats
    status: Tensor
    cost: Tensor | None = None
