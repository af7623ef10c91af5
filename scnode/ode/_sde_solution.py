"""What a stochastic solve returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SDEStats:
    """Work done by one stochastic solve.

    Parameters
    ----------
    n_steps
        Steps of every trajectory, shape (batch, sample); fewer where one broke off.
    n_drift_calls, n_diffusion_calls
        Calls of drift and diffusion, each on all trajectories.
    largest_step
        Largest step taken.
    """

    n_steps: Tensor
    n_drift_calls: int
    n_diffusion_calls: int
    largest_step: float


@dataclass(frozen=True)
class SDESolution:
    """Stochastic trajectories of a batch of initial states.

    Parameters
    ----------
    ts
        Times asked for, shape (time,) or (batch, time).
    ys
        States at those times, shape (batch, sample, time, state).
    stats
        Counts of steps and calls.
    status
        One :class:`scnode.ode.Status` per trajectory, shape (batch, sample).
    """

    ts: Tensor
    ys: Tensor
    stats: SDEStats
    status: Tensor
