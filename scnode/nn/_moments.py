"""Unspliced and spliced abundances of chosen genes as a state of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from scnode._errors import ScnodeError

if TYPE_CHECKING:
    from torch import Tensor


class Moments(nn.Module):
    r"""State :math:`(u, s)` in units of each gene, decoded to expression :math:`\hat x_g = \log(1 + c_g s_g)`.

    Both abundances of a gene share its unit :math:`c_g`, so that rates of splicing and degradation are those of the
    abundances themselves, and genes of any level count alike in distances. Unspliced abundance does not follow from
    expression: states are made of counts, by :func:`scnode.tl.fit` and :func:`scnode.tl.map`, and not encoded.

    Parameters
    ----------
    mean
        Mean expression over the cells of the fit, shape (gene,).
    unit
        :math:`c`, counts per 10,000, shape (gene,).
    """

    name: ClassVar[str] = "moments"
    mean: Tensor
    unit: Tensor

    def __init__(self, mean: Tensor, unit: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("unit", unit)

    @classmethod
    def sized(cls, n_genes: int, n_latent: int) -> Moments:
        """All one, to load a state into; the state has two numbers a gene."""
        if n_latent != 2 * n_genes:
            raise ScnodeError(f"{n_genes} genes have a state of {2 * n_genes} abundances, not {n_latent}.")
        return cls(torch.zeros(n_genes), torch.ones(n_genes))

    @property
    def n_latent(self) -> int:
        """Twice the number of genes."""
        return 2 * len(self.unit)

    @property
    def sizes(self) -> dict[str, Any]:
        """What :meth:`sized` takes beyond genes and latent dimension."""
        return {}

    def abundance(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Unspliced and spliced counts per 10,000 spliced ones of states (..., latent), or of their velocities."""
        u, s = z.chunk(2, -1)
        return u * self.unit, s * self.unit

    def encode(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Refuse: expression does not say what is unspliced."""
        raise ScnodeError(
            f"A model of unspliced and spliced abundances places no expression of shape {tuple(x.shape)}. "
            "Pass cells with both layers to scnode.tl.map(adata, model)."
        )

    def encode_velocity(self, x: Tensor, v: Tensor, batch: Tensor | None = None) -> Tensor:
        """Refuse, as :meth:`encode`."""
        del v
        return self.encode(x, batch)

    def decode(self, z: Tensor, batch: Tensor | None = None) -> Tensor:
        """Expression of states (..., latent), log1p of counts per 10,000; batches make no difference."""
        del batch
        # A solver may leave the face of no molecules by its tolerance.
        return self.abundance(z)[1].clamp_min(0).log1p()

    def decode_velocity(self, z: Tensor, v: Tensor, batch: Tensor | None = None) -> Tensor:
        """Rate of that expression, of latent velocities (..., latent)."""
        del batch
        return self.abundance(v)[1] / (1 + self.abundance(z)[1].clamp_min(0))
