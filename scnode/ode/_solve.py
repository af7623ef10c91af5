"""The one door to integration."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from scnode._errors import SolverError
from scnode.ode._backend import GRADIENTS, SOLVERS, integrate
from scnode.ode._solution import Solution, Stats, Status

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField

__all__ = ["GRADIENTS", "SOLVERS", "solve"]


def solve(
    field: VectorField,
    y0: Tensor,
    ts: Tensor,
    *,
    solver: str = "auto",
    gradient: str = "auto",
    rtol: float = 1e-4,
    atol: float = 1e-6,
    jacobian: Callable[[Tensor, Tensor], Tensor] | None = None,
    checkpoints: int | None = None,
    running_cost: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Solution:
    r"""Integrate :math:`\dot y = f(t, y)` from :math:`y(t_0) = y_0`.

    Parameters
    ----------
    field
        :math:`f`, called as ``field(t, y)`` with `y` of shape (batch, state) and `t` a scalar, or of shape
        (batch, 1) when every trajectory has its own times. Returns the shape of `y`.
    y0
        Initial states, shape (batch, state).
    ts
        Strictly monotone times, shape (time,) or (batch, time), forward or backward; the first is that of `y0`.
    solver
        One of :data:`SOLVERS`; ``"auto"`` is ``"dopri5"``.
    gradient
        One of :data:`GRADIENTS`; ``"auto"`` is ``"backprop"``, the exact gradient of the computed solution.
        ``"adjoint"`` keeps memory flat, needs `field` to be a :class:`torch.nn.Module`, and is exact only as far as
        the tolerance: on strongly contracting fields it can be wrong without notice.
    rtol, atol
        Relative and absolute tolerance of one step. Error is controlled in the root mean square over the batch.
    jacobian, checkpoints
        For implicit solvers and checkpointed gradients. No solver or gradient in the tables takes them yet, so
        passing one is an error rather than a promise.
    running_cost
        :math:`r(t, y)`, shape (batch,); :math:`\int_{t_0}^{t} r\,ds` is integrated along and returned as `cost`.

    Returns
    -------
    Solution
        Times, states (batch, time, state), counts and one status per trajectory.

    Raises
    ------
    SolverError
        Wrong shapes, non-monotone or non-finite times, a non-finite start, an unknown name, or a solve that stalled.

    Examples
    --------
    >>> import torch
    >>> from scnode import ode
    >>> ode.solve(lambda t, y: -y, torch.ones(1, 1), torch.tensor([0.0, 1.0])).ys[0, -1].item()
    0.3678...

    References
    ----------
    :cite:p:`Chen2018`
    """
    _check(y0, ts, solver=solver, gradient=gradient)
    _refuse(jacobian=jacobian, checkpoints=checkpoints)
    stats = Stats()
    rhs, start = (field, y0) if running_cost is None else _augment(field, running_cost, y0)
    names = ("dopri5" if solver == "auto" else solver, "backprop" if gradient == "auto" else gradient)
    path = integrate(rhs, start, ts, solver=names[0], gradient=names[1], rtol=rtol, atol=atol, stats=stats)
    finite = torch.isfinite(path).all(dim=2).all(dim=1)
    if not bool(finite.all()):
        bad = torch.nonzero(~finite).flatten()
        raise SolverError(
            f"{len(bad)} of {len(finite)} trajectories became non-finite (first: {int(bad[0])}) with {names[0]!r}. "
            "The field grows too fast for this interval: shorten `ts` or tighten `rtol`."
        )
    status = torch.full((len(y0),), int(Status.SUCCESS), device=y0.device)
    if running_cost is None:
        return Solution(ts=ts, ys=path, stats=stats, status=status)
    return Solution(ts=ts, ys=path[..., :-1], stats=stats, status=status, cost=path[..., -1])


def _augment(field: VectorField, cost: VectorField, y0: Tensor) -> tuple[VectorField, Tensor]:
    """Carry the running cost as one more state."""
    rhs = _WithCost(field, cost)
    return rhs, torch.cat([y0, y0.new_zeros(len(y0), 1)], dim=1)


class _WithCost(torch.nn.Module):
    """(y, q) with q' = r(t, y)."""

    def __init__(self, field: VectorField, cost: VectorField) -> None:
        super().__init__()
        self.field, self.cost = field, cost

    def forward(self, t: Tensor, state: Tensor) -> Tensor:
        y = state[:, :-1]
        return torch.cat([self.field(t, y), self.cost(t, y).unsqueeze(1)], dim=1)


def _check(y0: Tensor, ts: Tensor, *, solver: str, gradient: str) -> None:
    if solver != "auto" and solver not in SOLVERS:
        raise SolverError(f"solver={solver!r} is unknown. Pass 'auto' or one of {sorted(SOLVERS)}.")
    if gradient != "auto" and gradient not in GRADIENTS:
        raise SolverError(f"gradient={gradient!r} is unknown. Pass 'auto' or one of {sorted(GRADIENTS)}.")
    if y0.ndim != 2 or not y0.is_floating_point():
        raise SolverError(f"y0 has shape {tuple(y0.shape)} and dtype {y0.dtype}; pass floats of shape (batch, state).")
    if ts.ndim not in (1, 2) or ts.shape[-1] < 2 or (ts.ndim == 2 and len(ts) != len(y0)):
        raise SolverError(
            f"ts has shape {tuple(ts.shape)}; pass at least two times as (time,) or (batch, time), batch={len(y0)}."
        )
    steps = torch.diff(ts, dim=-1)
    if not bool(torch.isfinite(ts).all()) or not bool((steps > 0).all() or (steps < 0).all()):
        raise SolverError("ts must be finite and strictly monotone. Sort it and drop repeated times.")
    if not bool(torch.isfinite(y0).all()):
        rows = torch.nonzero(~torch.isfinite(y0).all(dim=1)).flatten()
        raise SolverError(f"y0 is not finite in {len(rows)} rows (first: {int(rows[0])}). Drop or repair those cells.")


def _refuse(**options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise SolverError(f"{name}= is used by no solver or gradient of this version. Leave it out.")
