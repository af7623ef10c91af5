"""A linear decoder for a representation that has no encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from scnode.nn._pca import PCA

if TYPE_CHECKING:
    from torch import Tensor


class LinearDecoder(PCA):
    r"""Decoder :math:`\hat x = z W^\top + \mu` with any :math:`W`, and the state nearest to an expression.

    The representation itself comes from elsewhere. :meth:`encode` inverts the decoder by least squares,
    :math:`z = (x - \mu) W^{+\top}`: it says how a change of expression moves a state, not where a cell would be placed.

    Parameters
    ----------
    mean
        :math:`\mu`, shape (gene,).
    components
        :math:`W`, shape (gene, latent).
    """

    name: ClassVar[str] = "linear"

    def encode(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """State whose decoded expression is nearest to `x` (cell, gene)."""
        return self.encode_velocity(x, x - self.mean, batch)

    def encode_velocity(self, x: Tensor, v: Tensor, batch: Tensor | None = None) -> Tensor:
        """Latent velocity nearest to a gene velocity (cell, gene)."""
        del x, batch
        return v @ torch.linalg.pinv(self.components).T
