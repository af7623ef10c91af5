"""Quantities read off a state, such as the expression of genes, with their slopes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch

from scnode._rows import at_rows

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.nn._curved import Curved


class Readout(Protocol):
    """Some quantities of a state, differentiable."""

    linear: ClassVar[bool]

    def __call__(self, states: Tensor) -> Tensor:
        """Values (..., held) at states (..., row, latent)."""
        ...

    def linearised(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Values (..., held) and their Jacobians, whose last two dimensions are (held, latent)."""
        ...


@dataclass(frozen=True)
class LinearReadout:
    r"""Values :math:`A z + c`.

    Parameters
    ----------
    matrix
        :math:`A`, shape (held, latent), or (row, held, latent) with one for each row of states.
    offset
        :math:`c`, shape (held,) or (row, held).
    """

    matrix: Tensor
    offset: Tensor
    linear: ClassVar[bool] = True

    def __call__(self, states: Tensor) -> Tensor:
        """Values at states (..., row, latent)."""
        if self.matrix.ndim == 2:
            return states @ self.matrix.mT + self.offset
        return (states.unsqueeze(-2) * self.matrix).sum(-1) + self.offset

    def linearised(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Values, and the matrix."""
        return self(states), self.matrix

    def at_rows(self, rows: Tensor) -> LinearReadout:
        """That of some rows of states alone."""
        return self if self.matrix.ndim == 2 else LinearReadout(self.matrix[rows], self.offset[rows])


@dataclass(frozen=True)
class DecodedReadout:
    """Expression of genes by a nonlinear decoder.

    Parameters
    ----------
    decoder
        The decoder.
    columns
        Places of the genes, shape (held,), or (row, held) with its own genes for each row of states.
    """

    decoder: Curved
    columns: Tensor
    linear: ClassVar[bool] = False

    def __call__(self, states: Tensor) -> Tensor:
        """Values at states (..., row, latent)."""
        return self.decoder.decode_genes(states, self.columns)

    def linearised(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Values, and one sweep back for each gene."""
        further = torch.is_grad_enabled()
        with torch.enable_grad():
            at = states if states.requires_grad else states.detach().requires_grad_()
            value = self(at)
            sums = value.flatten(0, -2).sum(0).unbind()
            slopes = [torch.autograd.grad(one, at, create_graph=further, retain_graph=True)[0] for one in sums]
        return (value if further else value.detach()), torch.stack(slopes, -2)

    def at_rows(self, rows: Tensor) -> DecodedReadout:
        """That of some rows of states alone."""
        return self if self.columns.ndim == 1 else DecodedReadout(self.decoder, self.columns[rows])


@dataclass(frozen=True)
class JointReadout:
    """Values of several readouts side by side.

    Parameters
    ----------
    parts
        The readouts.
    """

    parts: tuple[Readout, ...]
    linear: ClassVar[bool] = False

    def __call__(self, states: Tensor) -> Tensor:
        """Values at states (..., row, latent)."""
        return torch.cat([part(states) for part in self.parts], -1)

    def linearised(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Values and Jacobians of all parts."""
        values, slopes = zip(*(part.linearised(states) for part in self.parts), strict=True)
        full = [slope.expand(*states.shape[:-1], *slope.shape[-2:]) for slope in slopes]
        return torch.cat(values, -1), torch.cat(full, -2)

    def at_rows(self, rows: Tensor) -> JointReadout:
        """That of some rows of states alone."""
        return JointReadout(tuple(at_rows(part, rows) for part in self.parts))
