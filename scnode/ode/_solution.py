"""What a solve returns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.ode._pilot import StiffnessReport


class Status(IntEnum):
    """How the integration of one trajectory ended."""

    SUCCESS = 0
    NON_FINITE = 1
    """The field was not finite at a state that had been reached."""
    STALLED = 2
    """The step fell below what the clock can resolve, at a singularity, a jump, or a tolerance below precision."""
    MAX_STEPS = 3
    """Too many steps; the field is stiff and the solver explicit, or the interval is very long."""


@dataclass(frozen=True)
class Stats:
    """Work done by one solve, for every trajectory.

    Parameters
    ----------
    n_steps, n_rejected
        Accepted steps, and steps refused by the error control or a Newton iteration; shape (batch,).
    n_evaluations, n_jacobians, n_factorisations
        Values of the field, Jacobians, and factorised matrices; shape (batch,).
    n_switches
        How often ``solver="auto"`` handed the trajectory from one method to the other; shape (batch,).
    n_calls
        Calls of the field, each on many trajectories.
    """

    n_steps: Tensor
    n_rejected: Tensor
    n_evaluations: Tensor
    n_jacobians: Tensor
    n_factorisations: Tensor
    n_switches: Tensor
    n_calls: int


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
        Counts of steps, rejections, evaluations, Jacobians and factorisations.
    status
        One :class:`Status` per trajectory, shape (batch,).
    cost
        Running cost accumulated to each time, shape (batch, time); None when none was asked for.
    sensitivity
        With ``gradient="forward"``: derivatives of `ys`, shape (batch, time, state, input); the inputs are the
        components of the initial state and then, flattened one after another, the parameters that need gradients.
    stiffness
        With ``solver="auto"``: time scales of a sample of up to eight trajectories, evenly taken from the batch.
    """

    ts: Tensor
    ys: Tensor
    stats: Stats
    status: Tensor
    cost: Tensor | None = None
    sensitivity: Tensor | None = None
    stiffness: StiffnessReport | None = None
