"""The methods of torchdiffeq, reachable under its own names."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
import torchdiffeq

from scnode._errors import SolverError
from scnode.ode._solution import Stats

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from scnode._typing import VectorField

ADAPTIVE = ("adaptive_heun", "bosh3", "dopri5", "dopri8", "fehlberg2")
FIXED = ("euler", "explicit_adams", "heun2", "heun3", "implicit_adams", "midpoint", "rk4")
GRADIENTS = {"backprop": torchdiffeq.odeint, "adjoint": torchdiffeq.odeint_adjoint}

_MAX_STEPS = 10_000


class _Counted(torch.nn.Module):
    """The field with its calls and steps counted, on a clock that may differ from cell to cell."""

    def __init__(self, field: VectorField, *, adaptive: bool) -> None:
        super().__init__()
        self.field = field
        self.n_calls = self.n_steps = self.n_rejected = 0
        self.start: Tensor | None = None
        self.length: Tensor | None = None
        self.last = (float("nan"), float("nan"))
        if adaptive:  # torchdiffeq warns when a fixed-step method is given these
            self.callback_accept_step = partial(self._note, "n_steps")
            self.callback_reject_step = partial(self._note, "n_rejected")

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.n_calls += 1
        if self.start is None or self.length is None:
            return self.field(t.to(y.dtype), y)
        return self.length * self.field(self.start + t.to(y.dtype) * self.length, y)

    def _note(self, count: str, t: Tensor, y: Tensor, dt: Tensor) -> None:
        del y
        setattr(self, count, getattr(self, count) + 1)
        self.last = (float(t.detach()), float(dt.detach()))


def integrate(
    field: VectorField, y0: Tensor, ts: Tensor, *, method: str, gradient: str, rtol: float, atol: float
) -> tuple[Tensor, Stats]:
    """States at `ts`, shape (batch, time, state). Error is controlled in the root mean square over the batch."""
    if method not in (*ADAPTIVE, *FIXED):
        raise SolverError(f"torchdiffeq has no method {method!r}. Pass one of {sorted((*ADAPTIVE, *FIXED))}.")
    if gradient not in GRADIENTS:
        raise SolverError(f"torchdiffeq has no gradient={gradient!r}. Pass one of {sorted(GRADIENTS)}.")
    counted = _Counted(field, adaptive=method in ADAPTIVE)
    if gradient == "adjoint" and not any(True for _ in counted.parameters()):
        raise SolverError(
            "torchdiffeq's adjoint needs a field with parameters (a torch.nn.Module). "
            "Pass gradient='backprop', or one of scnode's own solvers."
        )
    run = partial(_run_finite, counted, method=method, gradient=gradient, rtol=rtol, atol=atol)
    if ts.ndim == 1:
        return run(y0, ts).movedim(0, 1), _stats(counted, len(y0), y0.device)
    # torchdiffeq knows one clock only, so each interval is mapped to [0, 1], cell by cell.
    unit = torch.tensor([0.0, 1.0], dtype=ts.dtype, device=ts.device)
    path = [y0]
    for start, end in zip(ts[:, :-1].unbind(1), ts[:, 1:].unbind(1), strict=True):
        counted.start, counted.length = start.unsqueeze(1).to(y0), (end - start).unsqueeze(1).to(y0)
        path.append(run(path[-1], unit)[-1])
    return torch.stack(path, dim=1), _stats(counted, len(y0), y0.device)


def _run_finite(field: _Counted, y0: Tensor, ts: Tensor, **options: Any) -> Tensor:
    path = _run(field, y0, ts, **options)
    finite = torch.isfinite(path.detach()).all(dim=2).all(dim=0)
    if not bool(finite.all()):
        bad = torch.nonzero(~finite).flatten()
        raise SolverError(
            f"{len(bad)} of {len(finite)} trajectories became non-finite (first: {int(bad[0])}) with torchdiffeq's "
            f"{options['method']!r}. The field grows too fast for this interval: shorten `ts` or pass solver='auto'."
        )
    return path


def _run(field: _Counted, y0: Tensor, ts: Tensor, *, method: str, gradient: str, rtol: float, atol: float) -> Tensor:
    adaptive = method in ADAPTIVE
    extra = {"options": {"max_num_steps": _MAX_STEPS}} if adaptive else {}
    if not adaptive:
        field.n_steps += len(ts) - 1
    try:
        return GRADIENTS[gradient](field, y0, ts, method=method, rtol=rtol, atol=atol, **extra)
    except AssertionError as error:
        t, dt = field.last
        raise SolverError(
            f"torchdiffeq's {method!r} stalled at t={t:.4g} with step {dt:.3g} after {field.n_steps} steps "
            f"({field.n_rejected} rejected). The field is stiff or not smooth there: pass solver='auto', "
            "loosen `rtol`, or shorten `ts`."
        ) from error


def _stats(counted: _Counted, batch: int, device: torch.device) -> Stats:
    def each(count: int) -> Tensor:
        return torch.full((batch,), count, device=device)

    calls = counted.n_calls
    return Stats(each(counted.n_steps), each(counted.n_rejected), each(calls), each(0), each(0), each(0), calls)
