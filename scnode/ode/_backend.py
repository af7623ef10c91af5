"""Explicit Runge-Kutta methods and their gradients, by torchdiffeq."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
import torchdiffeq

from scnode._errors import SolverError

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField
    from scnode.ode._solution import Stats

SOLVERS: dict[str, dict[str, int]] = {
    "euler": {"order": 1},
    "midpoint": {"order": 2},
    "rk4": {"order": 4},
    "heun3": {"order": 3},
    "adaptive_heun": {"order": 2},
    "bosh3": {"order": 3},
    "dopri5": {"order": 5},
    "dopri8": {"order": 8},
}
"""Name to order of consistency. Fixed-step methods (the first four) step from one asked time to the next."""

GRADIENTS = {"backprop": torchdiffeq.odeint, "adjoint": torchdiffeq.odeint_adjoint}
"""Name to integrator: ``"backprop"`` differentiates the steps taken, ``"adjoint"`` integrates the adjoint equation."""

_ADAPTIVE = {"adaptive_heun", "bosh3", "dopri5", "dopri8"}
_MAX_STEPS = 10_000


class _Counted(torch.nn.Module):
    """The field with its calls and steps counted, on a clock that may differ from cell to cell."""

    def __init__(self, field: VectorField, stats: Stats, *, adaptive: bool) -> None:
        super().__init__()
        self.field, self.stats = field, stats
        self.start: Tensor | None = None
        self.length: Tensor | None = None
        self.last = (float("nan"), float("nan"))
        if adaptive:  # torchdiffeq warns when a fixed-step method is given these
            self.callback_accept_step = partial(self._note, "n_steps")
            self.callback_reject_step = partial(self._note, "n_rejected")

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.stats.n_evaluations += 1
        if self.start is None or self.length is None:
            return self._shaped(self.field(t, y), y)
        return self.length * self._shaped(self.field(self.start + t * self.length, y), y)

    @staticmethod
    def _shaped(dy: Tensor, y: Tensor) -> Tensor:
        if dy.shape != y.shape:
            raise SolverError(f"The field returned shape {tuple(dy.shape)} for a state of shape {tuple(y.shape)}.")
        return dy

    def _note(self, count: str, t: Tensor, y: Tensor, dt: Tensor) -> None:
        del y
        setattr(self.stats, count, getattr(self.stats, count) + 1)
        self.last = (float(t.detach()), float(dt.detach()))


def integrate(
    field: VectorField,
    y0: Tensor,
    ts: Tensor,
    *,
    solver: str,
    gradient: str,
    rtol: float,
    atol: float,
    stats: Stats,
) -> Tensor:
    """States at `ts`, shape (batch, time, state)."""
    counted = _Counted(field, stats, adaptive=solver in _ADAPTIVE)
    if gradient == "adjoint" and not any(True for _ in counted.parameters()):
        raise SolverError("gradient='adjoint' needs a field with parameters (a torch.nn.Module). Pass 'backprop'.")
    run = partial(_run, counted, solver=solver, gradient=gradient, rtol=rtol, atol=atol)
    if ts.ndim == 1:
        return run(y0, ts).movedim(0, 1)
    # torchdiffeq knows one clock only, so each interval is mapped to [0, 1], cell by cell.
    unit = torch.tensor([0.0, 1.0], dtype=ts.dtype, device=ts.device)
    path = [y0]
    for start, end in zip(ts[:, :-1].unbind(1), ts[:, 1:].unbind(1), strict=True):
        counted.start, counted.length = start.unsqueeze(1), (end - start).unsqueeze(1)
        path.append(run(path[-1], unit)[-1])
    return torch.stack(path, dim=1)


def _run(field: _Counted, y0: Tensor, ts: Tensor, *, solver: str, gradient: str, rtol: float, atol: float) -> Tensor:
    adaptive = solver in _ADAPTIVE
    extra = {"options": {"max_num_steps": _MAX_STEPS}} if adaptive else {}
    if not adaptive:
        field.stats.n_steps += len(ts) - 1
    try:
        return GRADIENTS[gradient](field, y0, ts, method=solver, rtol=rtol, atol=atol, **extra)
    except AssertionError as error:
        t, dt = field.last
        raise SolverError(
            f"{solver!r} stalled at t={t:.4g} with step {dt:.3g} after {field.stats.n_steps} steps "
            f"({field.stats.n_rejected} rejected). The field is stiff or not smooth there: loosen `rtol`, "
            "shorten `ts`, or rescale the field."
        ) from error
