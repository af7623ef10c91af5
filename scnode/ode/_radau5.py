"""The fully implicit Runge-Kutta method Radau IIA of order 5."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from scnode.ode._linear import Factorised
from scnode.ode._step import Step, Work, column

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.ode._step import Start, System

_ROOT = 6**0.5
_NODES = ((4 - _ROOT) / 10, (4 + _ROOT) / 10, 1.0)
_A = (
    ((88 - 7 * _ROOT) / 360, (296 - 169 * _ROOT) / 1800, (-2 + 3 * _ROOT) / 225),
    ((296 + 169 * _ROOT) / 1800, (88 + 7 * _ROOT) / 360, (-2 - 3 * _ROOT) / 225),
    ((16 - _ROOT) / 36, (16 + _ROOT) / 36, 1 / 9),
)
# Weights of the stages in the embedded estimate, Hairer & Wanner II, IV.8, eq. 8.18.
_ERROR = ((-13 - 7 * _ROOT) / 3, (-13 + 7 * _ROOT) / 3, -1 / 3)
_MAX_ITERATIONS = 10
_NEWTON_TOLERANCE = 1e-2


@dataclass(frozen=True)
class _Coefficients:
    r"""The eigenvectors of :math:`A^{-1}`, which split the stage equations into a real and a complex system."""

    a: Tensor
    values: tuple[float, complex]
    into: Tensor
    back: Tensor
    dense: Tensor
    error: Tensor


class Radau5:
    r"""Increments :math:`Z_i = h \sum_j a_{ij} f(t + c_j h,\; y + Z_j)`, solved by simplified Newton iterations."""

    name, order, error_order, implicit, adaptive = "radau5", 5, 4, True, True

    def __init__(self, rtol: float, atol: float) -> None:
        self.rtol, self.atol = rtol, atol

    def step(self, system: System, start: Start) -> Step:
        """Advance every row by its own step size."""
        rows, s, h, y = start.rows, start.s, start.h, start.y
        with torch.no_grad():
            slope = system(s, y, rows) if start.slope is None else start.slope
            jacobian = system.jacobian(s, y, rows).to(torch.float64)
            newton = _Newton(system, start, jacobian, self.atol + self.rtol * y.abs().to(torch.float64))
            z = newton.solve()
            error = newton.error(slope, z)
            work = Work(1 + 3 * newton.iterations + newton.extra, jacobians=1, factorisations=2)
            stiffness = h.abs() * jacobian.abs().sum(-1).amax(-1)
        if torch.is_grad_enabled():
            z = _attach(system, start, z)
        stages = list(z.unbind(1))
        return Step(
            y + stages[2], None, stages, None, work, error=error, stiffness=stiffness, converged=newton.converged
        )

    def dense(self, like: Tensor) -> Tensor:
        """Coefficients of the powers of theta in the weight of each stage: the collocation polynomial."""
        return _coefficients(like.device).dense.to(like.dtype)


def _attach(system: System, start: Start, z: Tensor) -> Tensor:
    """The solved stages with their derivatives, by the implicit function theorem."""
    rows, s, h, y = start.rows, start.s, start.h, start.y
    a = _coefficients(y.device).a
    span = column(h, y)
    slopes, blocks = [], []
    for i, node in enumerate(_NODES):
        at = s + node * h
        slopes.append(system(at, y + z[:, i], rows))
        with torch.no_grad():
            blocks.append(system.jacobian(at, y + z[:, i], rows).to(torch.float64))
    n, _, state = z.shape
    residual = z - span.unsqueeze(-1) * torch.einsum("ij,njd->nid", a.to(y.dtype), torch.stack(slopes, dim=1))
    with torch.no_grad():
        coupled = torch.einsum("ij,jnde->nidje", a, torch.stack(blocks)).reshape(n, 3 * state, 3 * state)
        eye = torch.eye(3 * state, dtype=torch.float64, device=y.device)
        matrix = Factorised.of(eye - h.reshape(-1, 1, 1) * coupled)
    correction = matrix.solve(residual.to(torch.float64).flatten(1)).reshape(z.shape).to(y.dtype)
    # Only the derivative of the last Newton correction counts: the iteration has converged.
    return z - (correction - correction.detach())


class _Newton:
    """Simplified Newton iterations for the stages of many rows at once."""

    def __init__(self, system: System, start: Start, jacobian: Tensor, scale: Tensor) -> None:
        self.system, self.scale = system, scale
        self.rows, self.s, self.h, self.y = start.rows, start.s, start.h, start.y
        y, h = self.y, self.h
        self.coefficients = _coefficients(y.device)
        eye = torch.eye(y.shape[1], dtype=torch.float64, device=y.device)
        inverse = (1 / h.to(torch.float64)).reshape(-1, 1, 1)
        real, complex_ = self.coefficients.values
        self.real = Factorised.of(inverse * real * eye - jacobian)
        self.complex = Factorised.of(inverse * complex_ * eye - jacobian)
        self.converged = torch.zeros(len(y), dtype=torch.bool, device=y.device)
        self.iterations = self.extra = 0

    def solve(self) -> Tensor:
        """Stage increments, shape (row, 3, state)."""
        n, state = self.y.shape
        z = torch.zeros(n, 3, state, dtype=torch.float64, device=self.y.device)
        last = torch.full((n,), torch.inf, dtype=torch.float64, device=z.device)
        open_ = ~(self.real.singular | self.complex.singular)
        for _ in range(_MAX_ITERATIONS):
            self.iterations += 1
            change = self._change(z)
            size = (change / self.scale.unsqueeze(1)).square().mean(dim=(1, 2)).sqrt()
            rate = size / last
            z = torch.where(open_[:, None, None], z + change, z)
            near = (rate / (1 - rate).clamp(min=1e-10) * size < _NEWTON_TOLERANCE) & (rate < 1) & (self.iterations > 1)
            done = open_ & (near | (size < 1e-3 * _NEWTON_TOLERANCE))
            self.converged |= done
            open_ = open_ & ~done & torch.isfinite(size) & ~((rate >= 2) & (self.iterations > 2))
            last = size
            if not bool(open_.any()):
                break
        return z.to(self.y.dtype)

    def _change(self, z: Tensor) -> Tensor:
        slopes = torch.stack(
            [
                self.system(self.s + c * self.h, self.y + z[:, i].to(self.y.dtype), self.rows)
                for i, c in enumerate(_NODES)
            ],
            dim=1,
        ).to(torch.float64)
        k = self.coefficients
        # In the eigenbasis W = T^-1 Z the stage equations read lambda/h W = T^-1 F, one block each.
        w = torch.einsum("ij,njd->nid", k.into, z.to(k.into.dtype))
        f = torch.einsum("ij,njd->nid", k.into, slopes.to(k.into.dtype))
        inverse = (1 / self.h.to(torch.float64)).reshape(-1, 1)
        real, complex_ = k.values
        first = self.real.solve(f[:, 0].real - real * inverse * w[:, 0].real)
        second = self.complex.solve(f[:, 1] - complex_ * inverse * w[:, 1])
        return (
            torch.einsum("i,nd->nid", k.back[:, 0].real, first)
            + 2 * torch.einsum("i,nd->nid", k.back[:, 1], second).real
        )

    def error(self, slope: Tensor, z: Tensor) -> Tensor:
        """Filtered embedded estimate, a second time where the first is too large (Hairer & Wanner II, IV.8)."""
        weighted = torch.einsum("i,nid->nd", self.coefficients.error, z.to(torch.float64))
        weighted = weighted / self.h.reshape(-1, 1)
        error = self.real.solve(slope.to(torch.float64) + weighted)
        large = (error / self.scale).square().mean(dim=1).sqrt() > 1
        if bool(large.any()):
            self.extra = 1
            again = self.system(self.s, self.y + error.to(self.y.dtype), self.rows).to(torch.float64)
            second = self.real.solve(again + weighted)
            error = torch.where(large.unsqueeze(1) & torch.isfinite(second), second, error)
        return error.to(self.y.dtype)


@lru_cache
def _coefficients(device: torch.device) -> _Coefficients:
    a = torch.tensor(_A, dtype=torch.float64, device="cpu")
    values, vectors = torch.linalg.eig(torch.linalg.inv(a))
    order = sorted(range(3), key=lambda i: (abs(values[i].imag.item()) > 1e-8, -values[i].imag.item()))
    values, vectors = values[order], vectors[:, order]
    powers = torch.tensor([[c**j for j in (1, 2, 3)] for c in _NODES], dtype=torch.float64, device="cpu")
    return _Coefficients(
        a=a.to(device),
        values=(values[0].real.item(), values[1].item()),
        into=torch.linalg.inv(vectors).to(device),
        back=vectors.to(device),
        dense=torch.linalg.inv(powers).T.contiguous().to(device),
        error=torch.tensor(_ERROR, dtype=torch.float64, device=device),
    )
