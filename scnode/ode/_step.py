"""What one step of any method gives, and the states inside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor


class System(Protocol):
    """An ascending-time system y' = g(s, y); `rows` names the trajectories that are asked for."""

    def __call__(self, s: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Slope g, the shape of `y`; `s` is a scalar or (row,)."""
        ...

    def jacobian(self, s: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Jacobian of g, shape (row, state, state)."""
        ...

    def time_derivative(self, start: Start) -> Tensor | None:
        """Partial derivative of g by s, the shape of `y`; None when g does not depend on s."""
        ...

    def longest(self, s: Tensor, rows: Tensor) -> Tensor | None:
        """Largest step that may be taken from `s`; None where only the error decides."""
        ...


@dataclass(frozen=True)
class Start:
    """Where a step of many trajectories begins.

    Parameters
    ----------
    rows
        Their numbers in the batch.
    s, h
        Time and step size, scalars or of shape (row,).
    y
        States, shape (row, state).
    slope
        The system there, where it is known.
    """

    rows: Tensor
    s: Tensor
    h: Tensor
    y: Tensor
    slope: Tensor | None = None


@dataclass(frozen=True)
class Work:
    """Cost of one step to each of its trajectories."""

    evaluations: int
    jacobians: int = 0
    factorisations: int = 0


@dataclass(frozen=True)
class Step:
    """One step of a group of trajectories.

    Parameters
    ----------
    y
        State at the end, shape (row, state).
    slope
        The system at the end, when the method knows it.
    stages, span
        Increments whose combination is the state inside the step; they are scaled by `span` (the step size) if given.
    error
        Local error estimate, the shape of `y`; None for methods of fixed step.
    stiffness
        Step size times an estimate of the Jacobian's norm, shape (row,).
    converged
        Which rows solved their stage equations; None where there is nothing to solve.
    """

    y: Tensor
    slope: Tensor | None
    stages: list[Tensor]
    span: Tensor | None
    work: Work
    error: Tensor | None = None
    stiffness: Tensor | None = None
    converged: Tensor | None = None


class Method(Protocol):
    """A one-step method."""

    name: str
    order: int
    error_order: int
    """Power of the step size in the error estimate."""
    implicit: bool
    adaptive: bool

    def step(self, system: System, start: Start) -> Step:
        """Advance every row by its own step size."""
        ...

    def dense(self, like: Tensor) -> Tensor:
        """Coefficients of the powers of theta in the weight of each stage, shape (stage, power)."""
        ...


def combine(weights: Tensor, tensors: list[Tensor]) -> Tensor:
    """Linear combinations of equally shaped tensors: weights (combination, tensor) or (tensor,)."""
    stacked = torch.stack(tensors)
    return (weights @ stacked.flatten(1)).reshape(*weights.shape[:-1], *tensors[0].shape)


def difference_in_time(system: System, start: Start) -> Tensor:
    """Central difference over a small part of the step, which is differentiated like the system itself."""
    # Wider than for the least error of the difference, since rounding would show in gradients that are compared.
    delta = max(1e-3, torch.finfo(start.y.dtype).eps ** (1 / 3)) * start.h.detach()
    rise = system(start.s + delta, start.y, start.rows) - system(start.s - delta, start.y, start.rows)
    return rise / column(2 * delta, start.y)


def column(x: Tensor, like: Tensor) -> Tensor:
    """A scalar, or one value per row, ready to be multiplied onto states."""
    x = x.to(like.dtype)
    return x.unsqueeze(-1) if x.ndim else x


def interpolate(method: Method, step: Step, y: Tensor, rows: Tensor, theta: Tensor) -> Tensor:
    r"""States of `rows` at :math:`\theta \in [0, 1]` of their step that started at `y`, shape (len(rows), state)."""
    inside = combine(method.dense(y).T, step.stages).index_select(1, rows)
    theta = theta.to(y.dtype).unsqueeze(1)
    # Horner's rule without its constant term.
    value = inside[-1]
    for coefficient in reversed(inside[:-1].unbind(0)):
        value = torch.addcmul(coefficient, value, theta)
    value = value * theta
    if step.span is not None:
        value = value * (step.span.index_select(0, rows) if step.span.ndim else step.span)
    return y.index_select(0, rows) + value
