"""What every encoder without a closed form of its differentials shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class Curved(nn.Module):
    """Encoder and decoder whose latent states are standardised, and whose velocities go through their differentials.

    Parameters
    ----------
    n_genes, n_latent
        Sizes of expression and latent state.
    hidden
        Widths of the hidden layers of either network.
    """

    linear: ClassVar[bool] = False
    mean: Tensor
    unit: Tensor
    center: Tensor
    scale: Tensor

    def __init__(self, n_genes: int, n_latent: int, *, hidden: Sequence[int]) -> None:
        super().__init__()
        self.n_latent, self.hidden = n_latent, tuple(hidden)
        # Input is (x - mean) / unit; what the networks call h is scale * z + center.
        self.register_buffer("mean", torch.zeros(n_genes))
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("center", torch.zeros(n_latent))
        self.register_buffer("scale", torch.ones(()))

    def encode(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Latent state of expression (cell, gene)."""
        raise NotImplementedError

    def decode(self, z: Tensor, batch: Tensor | None = None) -> Tensor:
        """Expression of latent states (..., latent)."""
        raise NotImplementedError

    def decode_genes(self, z: Tensor, columns: Tensor) -> Tensor:
        """Expression (..., held) of some genes at states (..., row, latent), places (held,) or (row, held)."""
        full = self.decode(z)
        return full[..., columns] if columns.ndim == 1 else full.take_along_dim(columns.expand(*z.shape[:-1], -1), -1)

    def encode_velocity(self, x: Tensor, v: Tensor, batch: Tensor | None = None) -> Tensor:
        r"""Latent velocity :math:`\partial E(x)\,v` of a gene velocity `v` at expression `x`, both (cell, gene)."""
        return torch.func.jvp(lambda y: self.encode(y, batch), (x,), (v,))[1]

    def decode_velocity(self, z: Tensor, v: Tensor, batch: Tensor | None = None) -> Tensor:
        r"""Gene velocity :math:`\partial D(z)\,v` of a latent velocity `v` at a state `z`, both (..., latent)."""
        return torch.func.jvp(lambda y: self.decode(y, batch), (z,), (v,))[1]

    def standardise(self, states: Tensor) -> None:
        """Make these states (cell, latent) centred, with a mean variance of one; one factor keeps their shape."""
        spread = states.var(0).mean().sqrt()
        self.center.add_(self.scale * states.mean(0))
        self.scale.mul_(spread.clamp_min(torch.finfo(spread.dtype).tiny))
