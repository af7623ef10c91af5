"""The caller's field as the system that the methods integrate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scnode._errors import SolverError
from scnode._rows import at_rows
from scnode.ode._measure import jacobian, with_jacobian
from scnode.ode._step import column, difference_in_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from scnode._typing import VectorField
    from scnode.ode._step import Start


class FieldSystem:
    r"""Ascending time :math:`s = \sigma t`, so that :math:`g(s, y) = \sigma f(\sigma s, y)`.

    Parameters
    ----------
    field
        Called as ``field(t, y)``.
    sign
        :math:`\sigma`: 1 forward in time, -1 backward.
    closed
        The caller's Jacobian of `field`; by default the field's own method, else reverse sweeps.
    scalar_time
        Whether all rows are always at the same time, which is then passed as a scalar.
    autonomous
        Whether the field ignores time.
    """

    def __init__(
        self,
        field: VectorField,
        *,
        sign: int = 1,
        closed: Callable[[Tensor, Tensor], Tensor] | None = None,
        scalar_time: bool = False,
        autonomous: bool = False,
    ) -> None:
        self.field, self.sign, self.scalar_time, self.autonomous = field, sign, scalar_time, autonomous
        self._known = with_jacobian(field, closed)
        self.closed_form = hasattr(self._known, "jacobian")
        self.n_calls = 0

    def __call__(self, s: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Slope at `y`, the shape of `y`."""
        self.n_calls += 1
        slope = at_rows(self.field, rows)(self.time(s, y), y)
        if slope.shape != y.shape:
            raise SolverError(
                f"The field returned shape {tuple(slope.shape)} for states of shape {tuple(y.shape)}. "
                "It must return one velocity for every row that it is given."
            )
        return slope if self.sign == 1 else -slope

    def jacobian(self, s: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Jacobian of the slope, shape (row, state, state)."""
        t = self.time(s, y)
        value = jacobian(at_rows(self._known, rows), y, t=t, create_graph=torch.is_grad_enabled())
        return value if self.sign == 1 else -value

    def time_derivative(self, start: Start) -> Tensor | None:
        """Partial derivative of the slope by time; None for a field that ignores it."""
        return None if self.autonomous else difference_in_time(self, start)

    def longest(self, s: Tensor, rows: Tensor) -> None:
        """Only the error decides."""

    def time(self, s: Tensor, y: Tensor) -> Tensor:
        """Time as the field is given it: a scalar, or (row, 1)."""
        if self.scalar_time and s.ndim:
            s = s[0]
        t = column(s, y)
        return t if self.sign == 1 else -t


class WithCost(torch.nn.Module):
    r"""State :math:`(y, q)` with :math:`\dot q = r(t, y)`."""

    def __init__(
        self, field: VectorField, cost: VectorField, closed: Callable[[Tensor, Tensor], Tensor] | None
    ) -> None:
        super().__init__()
        self.field, self.cost = field, cost
        self._known = with_jacobian(field, closed)

    def forward(self, t: Tensor, state: Tensor) -> Tensor:
        """Velocity of the state and rate of its cost."""
        y = state[:, :-1]
        return torch.cat([self.field(t, y), self._rate(t, y).unsqueeze(1)], dim=1)

    def jacobian(self, t: Tensor, state: Tensor) -> Tensor:
        """Block matrix of the field's Jacobian and the gradient of the cost."""
        y = state[:, :-1]
        keep = torch.is_grad_enabled()
        inner = jacobian(self._known, y, t=t, create_graph=keep)
        with torch.enable_grad():
            states = y if keep and y.requires_grad else y.detach().requires_grad_()
            rate = self._rate(t, states)
            (below,) = (
                torch.autograd.grad(rate.sum(), states, create_graph=keep, allow_unused=True, materialize_grads=True)
                if rate.requires_grad
                else (torch.zeros_like(y),)
            )
        return torch.nn.functional.pad(torch.cat([inner, below.unsqueeze(1)], dim=1), (0, 1))

    def _rate(self, t: Tensor, y: Tensor) -> Tensor:
        rate = self.cost(t, y)
        if rate.shape != y.shape[:1]:
            raise SolverError(
                f"running_cost returned shape {tuple(rate.shape)} for {len(y)} states. Return one rate each, (batch,)."
            )
        return rate
