"""Principal components as encoder and exact linear decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class PCA(nn.Module):
    r"""Encoder :math:`z = (x - \mu) W` and decoder :math:`\hat x = z W^\top + \mu`, with :math:`W^\top W = I`.

    Parameters
    ----------
    mean
        :math:`\mu`, shape (gene,).
    components
        :math:`W`, orthonormal columns, shape (gene, latent).
    """

    name: ClassVar[str] = "pca"
    linear: ClassVar[bool] = True
    mean: Tensor
    components: Tensor

    def __init__(self, mean: Tensor, components: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("components", components)

    @classmethod
    def sized(cls, n_genes: int, n_latent: int) -> PCA:
        """All zero, to load a state into."""
        return cls(torch.zeros(n_genes), torch.zeros(n_genes, n_latent))

    @property
    def n_latent(self) -> int:
        """Number of components."""
        return self.components.shape[1]

    @property
    def sizes(self) -> dict[str, Any]:
        """What :meth:`sized` takes beyond genes and latent dimension."""
        return {}

    def encode(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Latent state of expression (cell, gene); batches make no difference."""
        del batch
        return (x - self.mean) @ self.components

    def decode(self, z: Tensor, batch: Tensor | None = None) -> Tensor:
        """Expression of latent states (..., latent); batches make no difference."""
        del batch
        return z @ self.components.T + self.mean

    def encode_velocity(self, x: Tensor, v: Tensor, batch: Tensor | None = None) -> Tensor:
        """Latent velocity of a gene velocity (cell, gene), the same at every expression `x`."""
        del x, batch
        return v @ self.components

    def decode_velocity(self, z: Tensor, v: Tensor, batch: Tensor | None = None) -> Tensor:
        """Gene velocity of a latent velocity (..., latent), the same at every state `z`."""
        del z, batch
        return v @ self.components.T
