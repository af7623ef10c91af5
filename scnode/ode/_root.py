"""The search for states at which a field vanishes, from many starts at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scnode.ode._measure import conserved, rank_tolerance
from scnode.ode._measure import jacobian as jacobian_of

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField

_SAMPLE = 256


class Scaled:
    """The field in units of the starts, and in double precision outside of the caller's functions."""

    def __init__(self, field: VectorField, starts: Tensor, t: float) -> None:
        self.field, self.t, self.dtype, self.starts = field, t, starts.dtype, starts.to(torch.float64)
        n_states = starts.shape[1]
        self.unit = _units(self.starts)
        self.free = torch.eye(n_states, dtype=torch.float64, device=starts.device)
        if len(starts):
            sample = self._matrix(self.starts[:: -(-len(starts) // _SAMPLE)] / self.unit)
            count, basis = conserved(sample.to(self.dtype).unsqueeze(0))
            self.free = basis[0, :, : n_states - int(count)]

    def value(self, z: Tensor) -> Tensor:
        """Velocity, shape (batch, state)."""
        states = (z * self.unit).to(self.dtype)
        velocity = self.field(torch.as_tensor(self.t, dtype=self.dtype, device=z.device), states)
        return velocity.to(torch.float64) / self.unit

    def matrix(self, z: Tensor) -> Tensor:
        """Jacobian in the directions that can move, shape (batch, free, free)."""
        return self.free.T @ self._matrix(z) @ self.free

    def _matrix(self, z: Tensor) -> Tensor:
        inside = jacobian_of(self.field, (z * self.unit).to(self.dtype), t=self.t).to(torch.float64)
        return inside * self.unit / self.unit.unsqueeze(1)


def search(problem: Scaled, tol: float, max_iterations: int) -> tuple[Tensor, Tensor]:
    """Where each start ends, and whether the field vanishes there."""
    z = problem.starts / problem.unit
    ends, arrived = _walk(problem, Newton(z), z, tol, max_iterations)
    left = torch.nonzero(~arrived).flatten()
    if len(left):
        ends[left], arrived[left] = _walk(problem, Flow(z[left]), z[left], tol, max_iterations)
    return ends, arrived


class Linear:
    """The field about each state, in the directions that can move."""

    def __init__(self, problem: Scaled, matrix: Tensor, value: Tensor) -> None:
        self.matrix, self.value = matrix, value @ problem.free
        self.left, self.sizes, self.right = torch.linalg.svd(matrix)
        self.residual = value.norm(dim=1)
        largest = self.sizes.amax(dim=1) if self.sizes.shape[1] else torch.zeros_like(self.residual)
        self.norm = largest.clamp(min=torch.finfo(value.dtype).tiny)
        self.cutoff = rank_tolerance(matrix.to(problem.dtype)) * largest.unsqueeze(1)

    def shortest(self, lift: Tensor | float) -> Tensor:
        r"""Step :math:`-(J^T J + \lambda I)^{-1} J^T f`, without the directions in which J vanishes, (batch, free)."""
        wanted = (self.left.mT @ self.value.unsqueeze(-1)).squeeze(-1)
        step = torch.where(self.sizes > self.cutoff, wanted * self.sizes / (self.sizes.square() + lift), 0)
        return -(self.right.mT @ step.unsqueeze(-1)).squeeze(-1)


class Newton:
    """Levenberg-Marquardt steps; only those that shrink the residual are taken."""

    def __init__(self, z: Tensor) -> None:
        self.damping = torch.full_like(z[:, 0], 1e-3)

    def step(self, rows: Tensor, linear: Linear, size: Tensor) -> Tensor:
        """Step at states of this size, shape (batch, free)."""
        near = (linear.residual / (linear.norm * size)).clamp(max=1)
        return linear.shortest((self.damping[rows] * linear.norm.square() * near).unsqueeze(1))

    def takes(self, rows: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Which steps to take, by the residual before and after."""
        better = after < before
        self.damping[rows] *= torch.where(better, 0.1, 8.0)
        return better


class Flow:
    """Implicit Euler steps along the flow, the longer the smaller the residual; all that are finite are taken."""

    def __init__(self, z: Tensor) -> None:
        self.length = torch.full_like(z[:, 0], torch.nan)

    def step(self, rows: Tensor, linear: Linear, size: Tensor) -> Tensor:
        """Step, shape (batch, free)."""
        del size
        self.length[rows] = torch.where(self.length[rows].isnan(), 1 / linear.norm, self.length[rows])
        shift = torch.diag_embed((1 / self.length[rows]).unsqueeze(1).expand_as(linear.value))
        return torch.linalg.solve_ex(shift - linear.matrix, linear.value)[0]

    def takes(self, rows: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Which steps to take, by the residual before and after."""
        sound = torch.isfinite(after)
        self.length[rows] *= torch.where(sound, (before / after).clamp(0.1, 1e9), 0.1)
        return sound


def _walk(problem: Scaled, way: Newton | Flow, z: Tensor, tol: float, max_iterations: int) -> tuple[Tensor, Tensor]:
    """Ends of all starts, and which of them are at rest: Newton step and residual are both below `tol` there."""
    z, value = z.clone(), problem.value(z)
    arrived = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    rows = torch.nonzero(torch.isfinite(value).all(dim=1)).flatten()
    for _ in range(max_iterations):
        matrix = problem.matrix(z[rows])
        sound = torch.isfinite(matrix).flatten(1).all(dim=1)
        rows = rows[sound]
        if not len(rows):
            break
        linear, size = Linear(problem, matrix[sound], value[rows]), 1 + z[rows].abs().amax(dim=1)
        newton = linear.shortest(0.0)
        done = (newton.norm(dim=1) <= tol * size) & (linear.residual <= tol * size * linear.norm)
        trial = z[rows] + torch.where(done.unsqueeze(1), newton, way.step(rows, linear, size)) @ problem.free.T
        there = problem.value(trial)
        after = there.norm(dim=1)
        moves = torch.where(done, after < linear.residual, way.takes(rows, linear.residual, after))
        z[rows[moves]], value[rows[moves]] = trial[moves], there[moves]
        arrived[rows[done]] = True
        rows = rows[~done]
    return z, arrived


def _units(starts: Tensor) -> Tensor:
    """Root mean square of each component; the largest for components that are always zero, 1 if all are."""
    if not starts.numel():
        return starts.new_ones(starts.shape[1])
    sizes = starts.square().mean(dim=0).sqrt()
    largest = sizes.max() if bool(sizes.any()) else torch.ones_like(sizes[0])
    return torch.where(sizes > 1e-6 * largest, sizes, largest)
