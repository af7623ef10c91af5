r"""One step of a stochastic differential equation :math:`dy = f\,dt + G\,dW` in the sense of It\^o."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from scnode._errors import SolverError
from scnode.ode import _tableau
from scnode.ode._explicit import EXPLICIT
from scnode.ode._step import Start, column, combine

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from scnode.ode._brownian import Increment
    from scnode.ode._system import FieldSystem


class Spread:
    """The caller's diffusion, checked: one value a state, or a matrix.

    Parameters
    ----------
    diffusion
        Called as ``diffusion(t, y)``; None for no noise.
    clock
        Turns the time of a step into what the caller is given.
    n_samples
        Trajectories of each cell, side by side.
    """

    def __init__(
        self, diffusion: Callable[[Tensor, Tensor], Tensor] | None, clock: FieldSystem, n_samples: int = 1
    ) -> None:
        self.diffusion, self.clock, self.n_samples = diffusion, clock, n_samples
        self.n_calls = 0

    def __call__(self, s: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Diffusion at `y`: (row, state), or a matrix (row, state, noise)."""
        if self.diffusion is None:
            return torch.zeros_like(y)
        self.n_calls += 1
        value = torch.as_tensor(self.diffusion(self.clock.time(s, y), y))
        if value.dtype != y.dtype:
            raise SolverError(f"The diffusion returned {value.dtype} for states of {y.dtype}. Let them agree.")
        if value.ndim == 3 and value.shape[:2] == y.shape:
            return value
        if value.shape not in {torch.Size(()), y.shape[:1], y.shape}:
            raise SolverError(
                f"The diffusion returned shape {tuple(value.shape)} for states of shape {tuple(y.shape)}. Return one "
                "standard deviation a state (row, state), one a row (row,), a scalar, or a matrix (row, state, noise)."
            )
        if bool((value.detach() < 0).any()):
            raise SolverError(self._negative(value, s, rows))
        return (value.unsqueeze(-1) if value.ndim == 1 else value).expand_as(y)

    def _negative(self, value: Tensor, s: Tensor, rows: Tensor) -> str:
        below = (value < 0).expand(len(rows)) if value.ndim < 2 else (value < 0).any(1)
        bad = torch.nonzero(below).flatten()
        time = s[bad[0]] if s.ndim else s
        cell, sample = divmod(int(rows[bad[0]]), self.n_samples)
        return (
            f"The diffusion is negative at t={float(time):.6g} in {len(bad)} of {len(rows)} trajectories (first: cell "
            f"{cell}, sample {sample}). It is a standard deviation: return it through torch.nn.functional.softplus, or "
            "as a matrix (row, state, noise)."
        )


class Scheme(Protocol):
    """A one-step method for stochastic equations."""

    matrix: bool
    """Whether it takes a diffusion matrix."""

    def step(self, drift: FieldSystem, spread: Spread, start: Start, noise: Increment) -> Tensor:
        """State at the end of the step."""
        ...


class EulerMaruyama:
    r""":math:`y_1 = y + h f(y) + G(y)\,\Delta W`: strong order 1/2 (1 with a constant G), weak order 1."""

    matrix = True

    def step(self, drift: FieldSystem, spread: Spread, start: Start, noise: Increment) -> Tensor:
        """State at the end of the step."""
        return EXPLICIT["euler"].step(drift, start).y + _kick(spread(start.s, start.y, start.rows), noise.change)


class ImplicitEuler:
    r""":math:`y_1 = y + (I - hJ)^{-1}(h f(y) + G(y)\,\Delta W)`: one Newton iteration of the drift-implicit method.

    Orders are those of Euler-Maruyama; a linear drift that decays is stable at any step.
    """

    matrix = True

    def step(self, drift: FieldSystem, spread: Spread, start: Start, noise: Increment) -> Tensor:
        """State at the end of the step."""
        y, span, later = start.y, column(start.h, start.y), start.s + start.h
        rise = span * drift(later, y, start.rows) + _kick(spread(start.s, y, start.rows), noise.change)
        same = torch.eye(y.shape[1], dtype=y.dtype, device=y.device)
        span = span.unsqueeze(-1) if span.ndim else span
        return y + torch.linalg.solve_ex(same - span * drift.jacobian(later, y, start.rows), rise)[0]


class StochasticRungeKutta:
    r"""Rossler's method SRI1W1 of strong order 3/2 and weak order 2 for a diagonal :math:`G_k(t, y_k)`.

    Without noise it is Ralston's method of order 2. It needs two drifts and four diffusions a step.
    """

    matrix = False
    # Coefficients of Rossler 2010: weights of the diffusion's four stages.
    _CHANGE = (-1.0, 4 / 3, 2 / 3, 0.0)
    _SQUARE = (-1.0, 4 / 3, -1 / 3, 0.0)
    _AVERAGE = (2.0, -4 / 3, -2 / 3, 0.0)
    _CUBE = (-2.0, 5 / 3, -2 / 3, 1.0)

    def step(self, drift: FieldSystem, spread: Spread, start: Start, noise: Increment) -> Tensor:
        """State at the end of the step."""
        s, h, y, rows = start.s, start.h, start.y, start.rows
        span, root = column(h, y), column(h.sqrt(), y)
        a, b = (torch.tensor(row, dtype=y.dtype, device=y.device) for row in (_RALSTON.a[1], _RALSTON.b))
        slope, g = drift(s, y, rows), [spread(s, y, rows)]
        inside = torch.addcmul(y, span, combine(a, [slope])) + 1.5 * g[0] * noise.average
        k = [slope, drift(s + 0.75 * h, inside, rows)]
        g.append(spread(s + 0.25 * h, y + 0.25 * span * slope + 0.5 * root * g[0], rows))
        g.append(spread(s + h, y + span * slope - root * g[0], rows))
        last = -5 * g[0] + 3 * g[1] + 0.5 * g[2]
        g.append(spread(s + 0.25 * h, y + 0.25 * span * slope + root * last, rows))
        kick = sum(weight * stage for weight, stage in zip(self._weights(noise, span, root), g, strict=True))
        return torch.addcmul(y, span, combine(b, k)) + kick

    def _weights(self, noise: Increment, span: Tensor, root: Tensor) -> list[Tensor]:
        """What each stage of the diffusion is multiplied by: iterated integrals of the noise."""
        w = noise.change
        square, cube = (w.square() - span) / (2 * root), (w**3 - 3 * span * w) / (6 * span)
        rows = zip(self._CHANGE, self._SQUARE, self._AVERAGE, self._CUBE, strict=True)
        return [c * w + q * square + m * noise.average + e * cube for c, q, m, e in rows]


def _kick(g: Tensor, change: Tensor) -> Tensor:
    return (g @ change.unsqueeze(-1)).squeeze(-1) if g.ndim == 3 else g * change


_RALSTON = _tableau.RALSTON

SCHEMES: dict[str, Scheme] = {
    "euler_maruyama": EulerMaruyama(),
    "srk2": StochasticRungeKutta(),
    "implicit_euler": ImplicitEuler(),
}
