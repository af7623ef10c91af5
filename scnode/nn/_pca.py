"""Principal components as encoder and exact linear decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

    mean: Tensor
    components: Tensor

    def __init__(self, mean: Tensor, components: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("components", components)

    @property
    def n_latent(self) -> int:
        """Number of components."""
        return self.components.shape[1]

    def encode(self, x: Tensor) -> Tensor:
        """Latent state of expression (cell, gene)."""
        return (x - self.mean) @ self.components

    def decode(self, z: Tensor) -> Tensor:
        """Expression of latent states (..., latent)."""
        return z @ self.components.T + self.mean

    def encode_velocity(self, v: Tensor) -> Tensor:
        """Latent velocity of a gene velocity (cell, gene)."""
        return v @ self.components

    def decode_velocity(self, v: Tensor) -> Tensor:
        """Gene velocity of a latent velocity (..., latent)."""
        return v @ self.components.T
