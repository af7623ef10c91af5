"""Forward sensitivities: the tangents of a computed solution, carried along with its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scnode.ode._record import Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from scnode.ode._clock import Clock
    from scnode.ode._record import Round
    from scnode.ode._step import Step, System


class Tangents:
    r"""Derivatives :math:`S = \partial y / \partial(y_0, \theta)`, shape (batch, state, input), step by step.

    They are the exact derivatives of the steps taken, whatever the method; the work grows with the number of inputs.
    """

    def __init__(self, system: System, clock: Clock, leaves: Sequence[Tensor], y0: Tensor) -> None:
        self.system, self.clock, self.leaves = system, clock, list(leaves)
        batch, state = y0.shape
        self.n_inputs = state + sum(leaf.numel() for leaf in self.leaves)
        self.y = y0.new_zeros(batch, state, self.n_inputs)
        self.y[:, :, :state] = torch.eye(state, dtype=y0.dtype, device=y0.device)
        self.slope = torch.zeros_like(self.y)
        self.output = Output(batch, clock.n_times)
        rows = torch.arange(batch, device=y0.device)
        self.output.add(rows, torch.zeros_like(rows), self.y.flatten(1).clone())

    def before(self, groups: object) -> None:
        """Nothing is needed before a round."""

    def refreshed(self, event: Round, y: Tensor) -> None:
        """Carry the tangents into new slopes."""
        self._carry(event, y, None)

    def stepped(self, event: Round, y: Tensor, slope: Tensor | None, step: Step) -> None:
        """Carry the tangents over a step."""
        del step
        self._carry(event, y, slope)

    def sensitivity(self) -> Tensor:
        """All derivatives, shape (batch, time, state, input); one that did not arrive keeps those of its last state."""
        reached = torch.zeros(len(self.y), self.clock.n_times, dtype=torch.bool, device=self.y.device)
        reached[torch.cat(self.output.rows), torch.cat(self.output.index)] = True
        rows, index = (~reached).nonzero(as_tuple=True)
        self.output.add(rows, index, self.y[rows].flatten(1))
        flat = self.output.assemble()
        return flat.reshape(*flat.shape[:2], -1, self.n_inputs)

    def _carry(self, event: Round, y: Tensor, slope: Tensor | None) -> None:
        states = [x.detach().requires_grad_() for x in (y, slope) if x is not None]
        with torch.enable_grad():
            outcome = event.run(self.system, self.clock, states[0], states[1] if len(states) > 1 else None)
            parts = outcome.parts()
            # Reverse mode twice is forward mode: the cotangents v enter linearly, so d/dv of v.J is J.
            v = [torch.zeros_like(part, requires_grad=True) for part in parts.values()]
            back = torch.autograd.grad(
                list(parts.values()), [*states, *self.leaves], v, create_graph=True, allow_unused=True
            )
        rows, saves = event.rows, event.saves
        inputs = [self.y[rows], self.slope[rows]][: len(states)]
        with torch.enable_grad():
            columns = [self._push(back, v, [x[:, :, i] for x in inputs], i) for i in range(self.n_inputs)]
        for number, name in enumerate(parts):
            tangent = torch.stack([column[number] for column in columns], dim=-1)
            if name == "y":
                self.y[rows] = tangent
            elif name == "slope":
                self.slope[rows] = tangent
            elif saves is not None:
                self.output.add(saves.rows, saves.index, tangent.flatten(1))

    def _push(
        self, back: Sequence[Tensor | None], v: list[Tensor], tangents: list[Tensor], number: int
    ) -> tuple[Tensor, ...]:
        """Tangents of a round's results along input `number`."""
        total = v[0].new_zeros(())
        for along, grad in zip(tangents, back, strict=False):
            if grad is not None:
                total = total + (grad * along).sum()
        offset = number - self.y.shape[1]
        for leaf, grad in zip(self.leaves, back[len(tangents) :], strict=True):
            if 0 <= offset < leaf.numel() and grad is not None:
                total = total + grad.flatten()[offset]
            offset -= leaf.numel()
        if not total.requires_grad:
            return tuple(torch.zeros_like(x) for x in v)
        return torch.autograd.grad(total, v, retain_graph=True, allow_unused=True, materialize_grads=True)
