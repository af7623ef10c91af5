"""Explicit Runge-Kutta steps."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from scnode.ode import _tableau
from scnode.ode._step import Step, Work, column, combine

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.ode._step import Start, System
    from scnode.ode._tableau import Row, Tableau


class Explicit:
    r"""Steps :math:`k_i = f(t + c_i h,\; y + h \sum_{j<i} a_{ij} k_j)`, :math:`y_1 = y + h \sum_i b_i k_i`."""

    implicit = False

    def __init__(self, name: str, tableau: Tableau) -> None:
        self.name, self.tableau = name, tableau
        self.order = self.error_order = tableau.order
        self.adaptive = tableau.error is not None

    def step(self, system: System, start: Start) -> Step:
        """Advance every row by its own step size."""
        tableau, rows, s, h, y = self.tableau, start.rows, start.s, start.h, start.y
        a, b, error = _weights(tableau, y.dtype, y.device)
        span = column(h, y)
        k = [system(s, y, rows) if start.slope is None else start.slope]
        point = before = y
        for i in range(1, len(tableau.c)):
            before, point = point, torch.addcmul(y, span, combine(a[i], k))
            k.append(system(s + tableau.c[i] * h, point, rows))
        same = tableau.first_same_as_last
        evaluations = len(k) - (start.slope is not None)
        if error is None:
            end = point if same else torch.addcmul(y, span, combine(b, k))
            return Step(end, None, k, span, Work(evaluations))
        with torch.no_grad():
            local = span * combine(error, k)
            # Two stages at the end of the step: their difference quotient estimates the dominant eigenvalue
            # (Hairer & Wanner II, IV.2).
            stiffness = h.abs() * (k[-1] - k[-2]).norm(dim=1) / (point - before).norm(dim=1)
        return Step(point, k[-1], k, span, Work(evaluations), error=local, stiffness=stiffness)

    def dense(self, like: Tensor) -> Tensor:
        """Coefficients of the powers of theta in the weight of each stage."""
        return _dense(self.tableau, like.dtype, like.device)


@lru_cache
def _weights(tableau: Tableau, dtype: torch.dtype, device: torch.device) -> tuple[list[Tensor], Tensor, Tensor | None]:
    def on(row: Row) -> Tensor:
        return torch.tensor(row, dtype=dtype, device=device)

    return [on(row) for row in tableau.a], on(tableau.b), None if tableau.error is None else on(tableau.error)


@lru_cache
def _dense(tableau: Tableau, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(tableau.dense, dtype=dtype, device=device)


EXPLICIT = {
    "euler": Explicit("euler", _tableau.EULER),
    "midpoint": Explicit("midpoint", _tableau.MIDPOINT),
    "ralston": Explicit("ralston", _tableau.RALSTON),
    "rk4": Explicit("rk4", _tableau.RK4),
    "dopri5": Explicit("dopri5", _tableau.DOPRI5),
    "tsit5": Explicit("tsit5", _tableau.TSIT5),
}
