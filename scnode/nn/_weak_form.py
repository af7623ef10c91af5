r"""Trajectories as linear equations for the coefficients of their field, without a derivative of the data.

For a test function :math:`\psi` that vanishes at the ends of a window, :math:`\dot y = \sum_m c_m \phi_m(y)` gives
:math:`-\int \dot\psi\,y\,dt = \sum_m c_m \int \psi\,\phi_m(y)\,dt`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scnode._errors import ScnodeError

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 7
"""Times that leave a noise to be estimated and a window to integrate over."""

_POWER = 4
_NOISE_FLOOR = 1e-9
"""Of the states' size: what is computed is not known better."""

JITTER = 1e-10
"""Of the mean variance of a residual, added to all: overlapping windows are nearly dependent."""


@dataclass(frozen=True)
class WeakForm:
    """Windows of trajectories.

    Parameters
    ----------
    ys
        States, shape (trajectory, time, state).
    tests
        Test functions times the weights of the quadrature, shape (trajectory, window, time).
    slopes
        The same of minus their derivatives.
    noise
        Standard deviation of the noise of each state, shape (state,).
    """

    ys: Tensor
    tests: Tensor
    slopes: Tensor
    noise: Tensor

    @property
    def left(self) -> Tensor:
        """Left-hand sides, shape (trajectory, window, state)."""
        return self.slopes @ self.ys

    def right(self, features: Tensor) -> Tensor:
        """Integrals of features (trajectory, time, feature), shape (trajectory, window, feature)."""
        return self.tests @ features

    def covariance(self, i: int, jacobian: Tensor) -> Tensor:
        r"""Of the residuals of trajectory `i`, to first order in its noise, shape (window * state, window * state).

        A residual moves with the noise of a state both on its left-hand side and through the Jacobian
        (time, state, state) of the field on its right-hand side.
        """
        n_states = self.ys.shape[2]
        same = torch.eye(n_states, dtype=self.ys.dtype, device=self.ys.device)
        moved = torch.einsum("kt,ij->kitj", self.slopes[i], same) - torch.einsum(
            "kt,tij->kitj", self.tests[i], jacobian
        )
        moved = (moved * self.noise).flatten(2).flatten(0, 1)
        found = moved @ moved.T
        return found + JITTER * found.diagonal().mean() * torch.eye(len(found), dtype=found.dtype, device=found.device)


def weak_form(ts: Tensor, ys: Tensor, *, window: int | None) -> WeakForm:
    """Windows of `window` intervals, by default a quarter of the times, a fifth of that apart."""
    ts, ys = check_trajectories(ts, ys)
    n_times = ts.shape[1]
    if n_times < _LEAST:
        raise ScnodeError(f"ts has {n_times} times. Pass trajectories of at least {_LEAST}, the more the better.")
    width = max(_LEAST - 1, n_times // 4) if window is None else window
    if not 2 <= width < n_times:
        raise ScnodeError(f"window={window} must be at least 2 and below the {n_times} times. Leave it out.")
    first = torch.arange(0, n_times - width, max(1, width // 5), device=ts.device)
    start, end = ts[:, first, None], ts[:, first + width, None]
    place = (2 * ts[:, None] - start - end) / (end - start)
    inside = (1 - place.square()).clamp_min(0)
    slope = -2 * _POWER * place * inside ** (_POWER - 1) * 2 / (end - start)
    gaps = torch.nn.functional.pad(ts.diff(dim=1), (1, 1))
    weight = ((gaps[:, 1:] + gaps[:, :-1]) / 2)[:, None]
    return WeakForm(ys, inside**_POWER * weight, -slope * weight, _noise(ts, ys))


def check_trajectories(ts: Tensor, ys: Tensor) -> tuple[Tensor, Tensor]:
    """Times (trajectory, time) and states (trajectory, time, state), in double precision."""
    if ys.ndim != 3 or ts.ndim not in (1, 2) or ts.shape[-1] != ys.shape[1] or (ts.ndim == 2 and len(ts) != len(ys)):
        raise ScnodeError(
            f"ts has shape {tuple(ts.shape)} and ys {tuple(ys.shape)}. Pass ys (trajectory, time, state) and ts "
            "(time,) or (trajectory, time)."
        )
    times, states = ts.detach().double().expand(ys.shape[:2]), ys.detach().double()
    if not bool(states.isfinite().all() and times.isfinite().all()):
        raise ScnodeError("ts or ys is not finite. Drop those trajectories or times.")
    if not bool((times.diff(dim=1) > 0).all()):
        raise ScnodeError("ts must increase strictly. Sort it, with ys, and drop repeated times.")
    return times, states


def _noise(ts: Tensor, ys: Tensor) -> Tensor:
    """Standard deviation that a cubic through five successive times leaves."""
    near_t, near_y = ts.unfold(1, 5, 1), ys.unfold(1, 5, 1)
    span = (near_t[..., -1:] - near_t[..., :1]) / 4
    apart = (near_t[..., :, None] - near_t[..., None, :]) / span[..., None]
    divided = 1 / (apart + torch.eye(5, dtype=ts.dtype, device=ts.device)).prod(-1)
    contrast = divided / torch.linalg.vector_norm(divided, dim=-1, keepdim=True)
    left = (near_y * contrast[:, :, None]).sum(-1).flatten(0, 1)
    # A median, since where the states turn sharply a cubic leaves more than noise.
    found = left.abs().median(0).values / math.sqrt(2) / torch.special.erfinv(torch.tensor(0.5, dtype=ts.dtype))
    return torch.maximum(found, _NOISE_FLOOR * ys.abs().amax((0, 1))).clamp_min(torch.finfo(ts.dtype).tiny)
