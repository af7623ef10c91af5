"""Gradients by the continuous adjoint equation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scnode.ode._checkpoint import add_up
from scnode.ode._clock import Clock
from scnode.ode._step import column, difference_in_time, interpolate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from scnode.ode._plan import Plan
    from scnode.ode._record import Round, Timed
    from scnode.ode._step import Start, Step
    from scnode.ode._system import FieldSystem

# Gauss-Legendre on [0, 1], exact to degree 5 and so not the weakest part beside interpolants of order 4.
_NODES = (0.5 - 0.15**0.5, 0.5, 0.5 + 0.15**0.5)
_WEIGHTS = (5 / 18, 8 / 18, 5 / 18)


class Path:
    """A computed solution as a piecewise polynomial in time, trajectory by trajectory."""

    def __init__(self, batch: int, clock: Clock) -> None:
        self.batch, self.clock = batch, clock
        self._rows: list[Tensor] = []
        self._timing: list[Tensor] = []
        self._pieces: list[Tensor] = []

    def before(self, groups: object) -> None:
        """Nothing is needed before a round."""

    def refreshed(self, event: Round, y: Tensor) -> None:
        """Slopes add nothing."""

    def stepped(self, event: Timed, y: Tensor, slope: Tensor | None, step: Step) -> None:
        """Keep the polynomials of a step."""
        del slope
        s, h = (x.expand(len(y)) for x in event.timing(self.clock))
        dense = event.method.dense(y)
        inside = torch.einsum("sp,snd->npd", dense, torch.stack(step.stages))
        if step.span is not None:
            inside = inside * (step.span.unsqueeze(-1) if step.span.ndim else step.span)
        self._rows.append(event.rows)
        self._timing.append(torch.stack([s, h], dim=1))
        self._pieces.append(torch.cat([y.unsqueeze(1), inside], dim=1))

    def close(self) -> None:
        """Sort the pieces by trajectory; within one they are in the order of time already."""
        rows = torch.cat(self._rows)
        order = torch.argsort(rows, stable=True)
        self.timing, self.pieces = torch.cat(self._timing)[order], torch.cat(self._pieces)[order]
        count = torch.bincount(rows, minlength=self.batch)
        self.first = count.cumsum(0) - count
        longest = int(count.amax())
        place = torch.arange(len(rows), device=rows.device) - self.first[rows[order]]
        # Where a trajectory has fewer pieces, starts that are never reached fill its line.
        self.starts = self.timing.new_full((self.batch, longest), torch.inf)
        self.starts[rows[order], place] = self.timing[:, 0]
        del self._rows, self._timing, self._pieces

    def size_at(self, s: Tensor, rows: Tensor) -> Tensor:
        """Step sizes that `rows` took around times `s`."""
        return self.timing[self._piece(s, rows), 1]

    def _piece(self, s: Tensor, rows: Tensor) -> Tensor:
        place = torch.searchsorted(self.starts[rows].contiguous(), s.reshape(-1, 1), right=True).squeeze(1) - 1
        return self.first[rows] + place.clamp(min=0)

    def at(self, s: Tensor, rows: Tensor) -> Tensor:
        """States of `rows` at times `s`."""
        index = self._piece(s, rows)
        start, size = self.timing[index].unbind(1)
        theta = ((s - start) / size).to(self.pieces.dtype)
        coefficients = self.pieces[index]
        state = coefficients[:, -1]
        for power in range(coefficients.shape[1] - 2, -1, -1):
            state = state * theta.unsqueeze(1) + coefficients[:, power]
        return state


class AdjointSystem:
    r"""The adjoint in reversed time :math:`\tau = -s`: :math:`da/d\tau = J(s, y(s))^\top a`."""

    def __init__(self, system: FieldSystem, path: Path) -> None:
        self.system, self.path = system, path

    def _where(self, tau: Tensor, a: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        s = -tau.expand(len(a))
        return s, self.path.at(s, rows)

    def __call__(self, s: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Rate of the adjoint `y` at reversed time `s`."""
        at, states = self._where(s, y, rows)
        with torch.enable_grad():
            states = states.requires_grad_()
            slope = self.system(at, states, rows)
            if not slope.requires_grad:
                return torch.zeros_like(y)
            (rate,) = torch.autograd.grad(
                slope, states, y, allow_unused=True, materialize_grads=True, retain_graph=True
            )
        return rate

    def jacobian(self, s: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Transpose of the field's Jacobian."""
        at, states = self._where(s, y, rows)
        return self.system.jacobian(at, states, rows).transpose(1, 2)

    def time_derivative(self, start: Start) -> Tensor:
        """The solution moves even where the field does not."""
        return difference_in_time(self, start)

    def longest(self, s: Tensor, rows: Tensor) -> Tensor:
        """The step of the solution there: what it resolves of the field, the parameters' integral must resolve too."""
        return self.path.size_at(-s, rows)


class Quadrature:
    r"""Follow the adjoint and sum :math:`\int a^\top \partial f / \partial\theta\, ds` over its steps."""

    def __init__(self, adjoint: AdjointSystem, leaves: Sequence[Tensor], clock: Clock) -> None:
        self.adjoint, self.leaves, self.clock = adjoint, list(leaves), clock
        self.sums: list[Tensor | None] = [None] * len(self.leaves)

    def before(self, groups: object) -> None:
        """Nothing is needed before a round."""

    def refreshed(self, event: Round, y: Tensor) -> None:
        """Slopes add nothing."""

    def stepped(self, event: Timed, y: Tensor, slope: Tensor | None, step: Step) -> None:
        """Add one step's share."""
        del slope
        if not self.leaves:
            return
        tau, h = (x.expand(len(y)) for x in event.timing(self.clock))
        every = torch.arange(len(y), device=y.device)
        for node, weight in zip(_NODES, _WEIGHTS, strict=True):
            a = interpolate(event.method, step, y, every, torch.full_like(tau, node)) * column(weight * h, y)
            self._add(-(tau + node * h), event.rows, a)

    def _add(self, s: Tensor, rows: Tensor, a: Tensor) -> None:
        states = self.adjoint.path.at(s, rows)
        with torch.enable_grad():
            slope = self.adjoint.system(s, states, rows)
        if not slope.requires_grad:
            return
        shares = torch.autograd.grad(slope, self.leaves, a, allow_unused=True, retain_graph=True)
        add_up(self.sums, shares)


def pull_back(
    plan: Plan, system: FieldSystem, path: Path, grad: Tensor, leaves: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor | None]]:
    """Cotangents of the states just after the start, and of `leaves`.

    The adjoint jumps by the cotangent of the state at every time asked for (Chen et al. 2018; Cao et al. 2003).
    """
    scale = grad.abs().amax().clamp(min=torch.finfo(grad.dtype).tiny)
    adjoint = AdjointSystem(system, path)
    fixed = path.clock.fixed
    a = torch.zeros_like(grad[:, 0])
    sums: list[Tensor | None] = [None] * len(leaves)
    h0 = None
    for j in range(fixed.shape[-1] - 1, 0, -1):
        # The tolerance is absolute for small adjoints, so the largest cotangent is taken as the unit.
        a = a + grad[:, j] / scale
        clock = Clock.of(torch.stack([fixed[..., j], fixed[..., j - 1]], dim=-1), -1)
        quadrature = Quadrature(adjoint, leaves, clock)
        path_of_a, run = plan.run(adjoint, a, clock, quadrature, h0)
        run.raise_for_status(-1, "adjoint equation")
        a, h0 = path_of_a[:, -1], run.size
        add_up(sums, quadrature.sums)
    return a * scale, [None if share is None else share * scale for share in sums]
