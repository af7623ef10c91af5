"""Batched linear systems that are factorised once and differentiated without their factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.autograd import Function

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor


@dataclass(frozen=True)
class Factorised:
    """W = LU, shape (row, state, state), in double precision: stiff W loses half its digits to its condition."""

    matrix: Tensor
    lu: Tensor
    pivots: Tensor
    singular: Tensor

    @classmethod
    def of(cls, matrix: Tensor) -> Factorised:
        """Factorise; rows that are singular are marked rather than raised."""
        with torch.no_grad():
            lu, pivots, info = torch.linalg.lu_factor_ex(matrix.detach())
        return cls(matrix, lu, pivots, info != 0)

    def solve(self, right: Tensor) -> Tensor:
        """X with W x = right, shape (row, state)."""
        if torch.is_grad_enabled() and (right.requires_grad or self.matrix.requires_grad):
            return _Solve.apply(self, self.matrix, right, 0)
        return torch.linalg.lu_solve(self.lu, self.pivots, right.unsqueeze(-1)).squeeze(-1)


class _Solve(Function):
    """x = W^-1 r, or W^-T r if turned: dr = W^-T dx and dW = -dr x^T, so the factors serve the gradient too."""

    @staticmethod
    def forward(ctx: Any, factors: Factorised, matrix: Tensor, right: Tensor, turned: int) -> Tensor:
        ctx.factors, ctx.turned = factors, turned
        x = torch.linalg.lu_solve(factors.lu, factors.pivots, right.unsqueeze(-1), adjoint=bool(turned)).squeeze(-1)
        ctx.save_for_backward(matrix, x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        matrix, x = ctx.saved_tensors
        back = _Solve.apply(ctx.factors, matrix, grad, 1 - ctx.turned)
        pair = (x, back) if ctx.turned else (back, x)
        to_matrix = -pair[0].unsqueeze(-1) * pair[1].unsqueeze(-2) if ctx.needs_input_grad[1] else None
        return None, to_matrix, back, None
