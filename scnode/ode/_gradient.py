"""Ways to differentiate a solve: each gives the states, and what happens when a loss is differentiated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from scnode.ode._adjoint import Path, pull_back
from scnode.ode._checkpoint import Sweep, Tape
from scnode.ode._clock import Clock
from scnode.ode._sensitivity import Tangents

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from torch import Tensor

    from scnode.ode._plan import Plan, Run
    from scnode.ode._system import FieldSystem


@dataclass
class Problem:
    """An initial value problem on the way to its solution.

    Parameters
    ----------
    system, plan
        What is integrated, and how.
    checkpoints, round_bytes
        See :class:`Tape`.
    run
        Set by the solve.
    sensitivity
        Set by the solve with forward sensitivities.
    """

    system: FieldSystem
    plan: Plan
    checkpoints: int | None
    round_bytes: int
    run: Run | None = None
    sensitivity: Tensor | None = None


def backprop(problem: Problem, y0: Tensor, times: Tensor, leaves: Sequence[Tensor]) -> Tensor:
    """Every operation is kept; derivatives of any order."""
    del leaves
    ys, problem.run = problem.plan.run(problem.system, y0, Clock(times, times.detach()))
    return ys


def checkpointed(problem: Problem, y0: Tensor, times: Tensor, leaves: Sequence[Tensor]) -> Tensor:
    """A few states are kept, and the steps between them are taken again."""
    return _Checkpointed.apply(problem, y0, times, *leaves)


def adjoint(problem: Problem, y0: Tensor, times: Tensor, leaves: Sequence[Tensor]) -> Tensor:
    """The solution is kept as a polynomial, and the adjoint equation is integrated backward along it."""
    return _Adjoint.apply(problem, y0, times, *leaves)


def forward(problem: Problem, y0: Tensor, times: Tensor, leaves: Sequence[Tensor]) -> Tensor:
    """Sensitivities are carried along."""
    return _Forward.apply(problem, y0, times, *leaves)


GRADIENTS = {"backprop": backprop, "checkpointed": checkpointed, "adjoint": adjoint, "forward": forward}
"""Name to way of differentiating."""


class _Checkpointed(Function):
    @staticmethod
    def forward(ctx: Any, problem: Problem, y0: Tensor, times: Tensor, *leaves: Tensor) -> Tensor:
        clock = Clock(times, times.detach())
        ctx.problem, ctx.tape = problem, Tape(problem.checkpoints, problem.round_bytes)
        # Saving the leaves makes torch refuse a gradient whose weights have been changed meanwhile.
        ctx.save_for_backward(y0, times, *leaves)
        ctx.tape.before([(torch.arange(len(y0), device=y0.device), y0, None)])
        ys, problem.run = problem.plan.run(problem.system, y0, clock, ctx.tape)
        return ys

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _, times, *leaves = ctx.saved_tensors
        moving = times.detach().requires_grad_(ctx.needs_input_grad[2])
        wanted = [*leaves, moving] if ctx.needs_input_grad[2] else leaves
        sweep = Sweep(ctx.problem.system, Clock(moving, times.detach()), wanted, grad)
        sweep.run(ctx.tape)
        to_times = sweep.sums[-1] if ctx.needs_input_grad[2] else None
        return None, sweep.y + grad[:, 0], to_times, *sweep.sums[: len(leaves)]


class _Adjoint(Function):
    @staticmethod
    def forward(ctx: Any, problem: Problem, y0: Tensor, times: Tensor, *leaves: Tensor) -> Tensor:
        clock = Clock(times.detach(), times.detach())
        ctx.problem, ctx.path = problem, Path(len(y0), clock)
        ys, problem.run = problem.plan.run(problem.system, y0, clock, ctx.path)
        ctx.path.close()
        ctx.save_for_backward(ys, times, *leaves)
        return ys

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        ys, times, *leaves = ctx.saved_tensors
        problem = ctx.problem
        a, sums = pull_back(problem.plan, problem.system, ctx.path, grad, leaves)
        to_times = _time_gradient(problem.system, ys, times, grad, a) if ctx.needs_input_grad[2] else None
        return None, a + grad[:, 0], to_times, *sums


class _Forward(Function):
    @staticmethod
    def forward(ctx: Any, problem: Problem, y0: Tensor, times: Tensor, *leaves: Tensor) -> Tensor:
        clock = Clock(times.detach(), times.detach())
        tangents = Tangents(problem.system, clock, leaves, y0)
        ys, problem.run = problem.plan.run(problem.system, y0, clock, tangents)
        problem.sensitivity = tangents.sensitivity()
        ctx.problem, ctx.sensitivity = problem, problem.sensitivity
        ctx.save_for_backward(ys, times, *leaves)
        return ys

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        ys, times, *leaves = ctx.saved_tensors
        state = ys.shape[2]
        to_start = torch.einsum("bts,btsi->bi", grad, ctx.sensitivity[..., :state])
        flat = torch.einsum("bts,btsi->i", grad, ctx.sensitivity[..., state:])
        parts = flat.split([leaf.numel() for leaf in leaves])
        to_times = None
        if ctx.needs_input_grad[2]:
            to_times = _time_gradient(ctx.problem.system, ys, times, grad, to_start - grad[:, 0])
        return None, to_start, to_times, *(part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True))


def _time_gradient(system: FieldSystem, ys: Tensor, times: Tensor, grad: Tensor, a: Tensor) -> Tensor:
    """A later observation moves along the field; a later start holds the state back."""
    rows = torch.arange(len(ys), device=ys.device)
    each = []
    for j, states in enumerate(ys.unbind(1)):
        slope = system(times[..., j].expand(len(ys)), states, rows)
        each.append(((grad[:, j] if j else -a) * slope).sum(1))
    result = torch.stack(each, dim=1).to(times.dtype)
    return result if times.ndim == 2 else result.sum(0)
