"""Exact gradients of the computed solution from few stored states."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from scnode.ode._clock import Clock
    from scnode.ode._record import Round
    from scnode.ode._step import Step, System

Under = list[tuple["Tensor", "Tensor", "Tensor | None"]]


@dataclass
class Tape:
    """Rounds of an integration with their step sizes, and the states at the beginning of every `stretch`-th of them.

    Parameters
    ----------
    limit
        Most checkpoints to keep; by default as many as take the room of one replayed stretch, which is the least
        memory in all: it grows with the square root of the number of rounds (Griewank & Walther 2008, chapter 12).
    round_bytes
        Memory that one differentiated round takes.
    """

    limit: int | None
    round_bytes: int
    events: list[Round] = field(default_factory=list)
    checkpoints: dict[int, tuple[int, Under]] = field(default_factory=dict)
    stretch: int = 1
    number: int = 0

    def before(self, groups: Under) -> None:
        """Keep the states at every `stretch`-th round."""
        if self.number % self.stretch == 0:
            self.checkpoints[self.number] = (len(self.events), groups)
            self._thin(groups)
        self.number += 1

    def refreshed(self, event: Round, y: Tensor) -> None:
        """Note a round."""
        del y
        self.events.append(event)

    def stepped(self, event: Round, y: Tensor, slope: Tensor | None, step: Step) -> None:
        """Note a round."""
        del y, slope, step
        self.events.append(event)

    def _thin(self, groups: Under) -> None:
        """Double the stretch when there are too many checkpoints."""
        size = sum(t.numel() * t.element_size() for _, y, slope in groups for t in (y, slope) if t is not None)
        limit = self.limit or max(2, self.stretch * self.round_bytes // max(size, 1))
        while len(self.checkpoints) > max(limit, 1):
            self.stretch *= 2
            self.checkpoints = {n: kept for n, kept in self.checkpoints.items() if n % self.stretch == 0}

    def stretches(self) -> list[tuple[Under, list[Round]]]:
        """States and rounds of each stretch, first to last."""
        starts = [kept for _, kept in sorted(self.checkpoints.items())]
        ends = [begin for begin, _ in starts[1:]] + [len(self.events)]
        return [(groups, self.events[begin:end]) for (begin, groups), end in zip(starts, ends, strict=True)]


@dataclass
class _Local:
    """One round with its own small graph."""

    event: Round
    y: Tensor
    slope: Tensor | None
    outputs: dict[str, Tensor]


class Sweep:
    """The adjoint of the recorded rounds, last to first.

    Parameters
    ----------
    system, clock
        As in the integration; the clock's times are a leaf when they need a gradient.
    leaves
        Tensors whose gradients are summed up in `sums`.
    grad
        Cotangent of the states at the asked times, shape (batch, time, state).
    """

    def __init__(self, system: System, clock: Clock, leaves: Sequence[Tensor], grad: Tensor) -> None:
        self.system, self.clock, self.leaves, self.grad = system, clock, list(leaves), grad
        self.sums: list[Tensor | None] = [None] * len(self.leaves)
        self.y = grad.new_zeros(len(grad), grad.shape[2])
        self.slope = torch.zeros_like(self.y)
        self._states = torch.zeros_like(self.y)
        self._slopes = torch.zeros_like(self.y)

    def run(self, tape: Tape) -> None:
        """All stretches; afterwards `y` is the cotangent of the initial states."""
        for groups, events in reversed(tape.stretches()):
            for rows, y, slope in groups:
                self._states[rows] = y
                if slope is not None:
                    self._slopes[rows] = slope
            graphs = [self._replay(event) for event in events]
            while graphs:
                self._pull(graphs.pop())

    def _replay(self, event: Round) -> _Local:
        y = self._states[event.rows].requires_grad_()
        slope = self._slopes[event.rows].requires_grad_() if event.uses_slope else None
        with torch.enable_grad():
            out = event.run(self.system, self.clock, y, slope)
        self._states[event.rows] = out.y.detach()
        if out.slope is not None:
            self._slopes[event.rows] = out.slope.detach()
        return _Local(event, y, slope, out.parts())

    def _pull(self, local: _Local) -> None:
        rows, saves = local.event.rows, local.event.saves
        cotangents = {"y": self.y[rows], "slope": self.slope[rows]}
        if saves is not None:
            cotangents["saved"] = self.grad[saves.rows, saves.index]
        states = [local.y] if local.slope is None else [local.y, local.slope]
        # The graph behind a leaf that was computed outside the field is needed again by the rounds before.
        grads = torch.autograd.grad(
            list(local.outputs.values()),
            [*states, *self.leaves],
            [cotangents[name] for name in local.outputs],
            allow_unused=True,
            retain_graph=True,
        )
        self.y[rows] = _or_zero(grads[0], local.y)
        self.slope[rows] = 0.0 if local.slope is None else _or_zero(grads[1], local.slope)
        add_up(self.sums, grads[len(states) :])


def _or_zero(grad: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if grad is None else grad


def add_up(sums: list[Tensor | None], shares: Sequence[Tensor | None]) -> None:
    """Add each share to its sum; None stands for zero."""
    for i, (total, share) in enumerate(zip(sums, shares, strict=True)):
        sums[i] = share if total is None else total if share is None else total + share
