r"""Exponential integrators, vectorised over cells.

Given transcription, unspliced and spliced levels obey a linear system that is solved exactly, so the
step is bound by how fast transcription changes and not by the fastest splicing or degradation rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._network import Network

_SHORTEST = 1e-9
# Cells per block: small enough that a step stays in the processor cache.
_BLOCK = 512


@dataclass(frozen=True)
class _Step:
    r"""Exact response over one step to the start state, to :math:`\alpha_0` and to its linear change."""

    u_from_u: NDArray[np.float64]
    u_from_alpha: NDArray[np.float64]
    u_from_change: NDArray[np.float64]
    s_from_s: NDArray[np.float64]
    s_from_u: NDArray[np.float64]
    s_from_alpha: NDArray[np.float64]
    s_from_change: NDArray[np.float64]
    u_noise: NDArray[np.float64]
    s_noise: NDArray[np.float64]

    @classmethod
    def of(cls, network: Network, h: float | NDArray[np.float64]) -> _Step:
        """Responses for a step `h`, a number or one per cell (cells, 1)."""
        b, g = network.beta, network.gamma
        decay_u, decay_s = np.exp(-b * h), np.exp(-g * h)
        const_u, const_s = -np.expm1(-b * h) / b, -np.expm1(-g * h) / g
        ramp_u, ramp_s = (h - const_u) / (b * h), (h - const_s) / (g * h)
        couple = b / (b - g)
        return cls(
            u_from_u=decay_u,
            u_from_alpha=const_u,
            u_from_change=ramp_u,
            s_from_s=decay_s,
            s_from_u=couple * (decay_s - decay_u),
            s_from_alpha=couple * (const_s - const_u),
            s_from_change=couple * (ramp_s - ramp_u),
            # The exact spread of an Ornstein-Uhlenbeck step; sqrt(h) would explode where rates * h > 1.
            u_noise=np.sqrt(-np.expm1(-2 * b * h) / (2 * b)),
            s_noise=np.sqrt(-np.expm1(-2 * g * h) / (2 * g)),
        )

    def frozen(self, state: NDArray[np.float64], alpha: NDArray[np.float64]) -> NDArray[np.float64]:
        """State after the step under constant transcription."""
        out = np.empty_like(state)
        u, s = state[:, 0], state[:, 1]
        out[:, 0] = self.u_from_u * u + self.u_from_alpha * alpha
        out[:, 1] = self.s_from_s * s + self.s_from_u * u + self.s_from_alpha * alpha
        return out


def _deterministic(
    network: Network, state: NDArray[np.float64], step: _Step, corrections: int = 2
) -> NDArray[np.float64]:
    alpha = network.rates(state[:, 1])
    base = step.frozen(state, alpha)
    out = base
    for _ in range(corrections):
        change = network.rates(out[:, 1]) - alpha
        out = base.copy()
        out[:, 0] += step.u_from_change * change
        out[:, 1] += step.s_from_change * change
    return out


def _stochastic(
    network: Network,
    state: NDArray[np.float64],
    step: _Step,
    spread: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    alpha = network.rates(state[:, 1])
    spliced = network.beta * state[:, 0]
    draw = rng.standard_normal(state.shape, dtype=np.float32)
    out = step.frozen(state, alpha)
    out[:, 0] += np.sqrt(spread[0] * (alpha + spliced)) * step.u_noise * draw[:, 0]
    out[:, 1] += np.sqrt(spread[1] * (spliced + network.gamma * state[:, 1])) * step.s_noise * draw[:, 1]
    return np.maximum(out, 0.0, out=out)


def integrate(
    network: Network,
    start: NDArray[np.float64],
    duration: float | NDArray[np.float64],
    *,
    noise: float = 0.0,
    step: float = 0.1,
    rng: np.random.Generator | None = None,
    scale: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    r"""Run every cell for its own duration and return its last state.

    With noise the chemical-Langevin-like system

    .. math::

        du = (\alpha - \beta u)\,dt + \epsilon \sqrt{U (\alpha + \beta u)}\,dW_u, \qquad
        ds = (\beta u - \gamma s)\,dt + \epsilon \sqrt{S (\beta u + \gamma s)}\,dW_s

    where `U` and `S` are the levels of full induction, so that :math:`\epsilon` is about the coefficient
    of variation of a fully induced gene.

    Parameters
    ----------
    network
        The system.
    start
        States, shape (cells, 2, genes).
    duration
        Time to run, one for all or one per cell.
    noise
        :math:`\epsilon`; zero integrates the ordinary differential equation to second order.
    step
        Largest time step.
    rng
        Source of the noise; needed where `noise` is positive.
    scale
        `U` and `S`, shape (2, genes); those of `network` where None. A knock-out passes those of
        its control, so that both see the same noise.

    Returns
    -------
    ndarray
        States, shape (cells, 2, genes).
    """
    duration = np.broadcast_to(np.asarray(duration, dtype=np.float64), (start.shape[0],))
    # Longest first: the cells still running are then a leading slice.
    order = np.argsort(-duration, kind="stable")
    out = np.empty(start.shape, dtype=np.float64)
    spread = noise**2 * (network.level_scale if scale is None else scale)
    for first in range(0, len(order), _BLOCK):
        cells = order[first : first + _BLOCK]
        out[cells] = _run(network, start[cells].astype(np.float64), duration[cells], step, spread, rng)
    return out


def _run(  # noqa: PLR0917
    network: Network,
    state: NDArray[np.float64],
    left: NDArray[np.float64],
    step: float,
    spread: NDArray[np.float64],
    rng: np.random.Generator | None,
) -> NDArray[np.float64]:
    full = np.floor(left / step).astype(int)
    whole = _Step.of(network, step)
    for k in range(int(full.max(initial=0))):
        n = int(np.searchsorted(-full, -k, side="left"))
        state[:n] = _advance(network, state[:n], whole, spread, rng)
    rest = np.maximum(left - full * step, _SHORTEST)[:, None]
    return _advance(network, state, _Step.of(network, rest), spread, rng)


def _advance(
    network: Network,
    state: NDArray[np.float64],
    step: _Step,
    spread: NDArray[np.float64],
    rng: np.random.Generator | None,
) -> NDArray[np.float64]:
    if rng is None or not spread.any():
        return _deterministic(network, state, step)
    return _stochastic(network, state, step, spread, rng)
