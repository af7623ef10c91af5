"""Pointwise measures of a vector field by its Jacobian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField


def jacobian(field: VectorField, y: Tensor, *, t: float = 0.0) -> Tensor:
    r"""Jacobian :math:`J_{ij} = \partial f_i / \partial y_j` at every state.

    Parameters
    ----------
    field
        Called as ``field(t, y)`` on a batch; rows must not depend on each other.
    y
        States, shape (batch, state).
    t
        Time at which a time-dependent field is taken.

    Returns
    -------
    Tensor
        Shape (batch, state, state).
    """
    states = y.detach().clone()
    states.requires_grad = True
    with torch.enable_grad():
        value = field(torch.as_tensor(t, dtype=y.dtype, device=y.device), states)
        # One reverse sweep per output: on a CPU this beats vmap over the same sweeps.
        rows = [
            torch.autograd.grad(value[:, i].sum(), states, retain_graph=i + 1 < value.shape[1])[0]
            for i in range(value.shape[1])
        ]
    return torch.stack(rows, dim=1)


def divergence(jacobians: Tensor) -> Tensor:
    r"""Rate of volume growth :math:`\nabla\cdot f = \mathrm{tr} J`, shape (batch,)."""
    return jacobians.diagonal(dim1=-2, dim2=-1).sum(-1)


def spectral_norm(jacobians: Tensor) -> Tensor:
    r"""Largest singular value :math:`\|J\|_2`, the local Lipschitz constant, shape (batch,)."""
    return torch.linalg.matrix_norm(jacobians, ord=2)
