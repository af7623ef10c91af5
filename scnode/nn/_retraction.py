"""A smooth map of space into a ball, which leaves what is inside where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Retraction:
    r"""States :math:`q(z) = \rho(r)\,z/r` at :math:`r = \|z\|`, with its differentials there.

    :math:`\rho(r) = r` up to the radius :math:`R` and :math:`R + \tanh(r - R)` beyond, twice differentiable; no state
    goes farther out than :math:`R + 1`.

    Parameters
    ----------
    states
        :math:`q(z)`, shape (..., latent).
    ray
        :math:`z/r` beyond the radius, shorter within, where nothing depends on it, shape (..., latent).
    beyond
        Offset from the nearest state within the radius, shape (..., latent).
    across, along
        :math:`\rho/r` and :math:`\rho'`, by which the differential stretches both, shape (..., 1).
    far, bend
        :math:`\max(r, R)` and :math:`\rho''`, shape (..., 1).
    """

    states: Tensor
    ray: Tensor
    beyond: Tensor
    across: Tensor
    along: Tensor
    far: Tensor
    bend: Tensor

    @classmethod
    def of(cls, z: Tensor, radius: Tensor) -> Retraction:
        """At states (..., latent)."""
        # The root of a square that is not zero: a norm has no second derivative at the centre.
        far = torch.maximum(z.square().sum(-1, keepdim=True), radius.square()).sqrt()
        excess = torch.tanh(far - radius)
        across, along = (radius + excess) / far, 1 - excess.square()
        return cls(z * across, z / far, z * (1 - radius / far), across, along, far, -2 * excess * along)

    def gradient(self, of: Tensor) -> Tensor:
        r"""Gradients :math:`Dq\,\nabla S` of :math:`S\circ q` from those of scalars S at q, (..., scalar, latent)."""
        ray, across = self.ray.unsqueeze(-2), self.across.unsqueeze(-2)
        outward = (of * ray).sum(-1, keepdim=True)
        return across * of + (self.along.unsqueeze(-2) - across) * outward * ray

    def hessian(self, of: Tensor, gradient: Tensor) -> Tensor:
        r"""Hessians :math:`Dq\,H\,Dq + \sum_m \partial_m S\,D^2 q_m` of :math:`S\circ q`.

        Parameters
        ----------
        of, gradient
            Hessians (..., scalar, latent, latent) and gradients (..., scalar, latent) of scalars S at q.
        """
        ray, across, along, far, bend = (
            part.unsqueeze(-2) for part in (self.ray, self.across, self.along, self.far, self.bend)
        )
        same, line = torch.eye(ray.shape[-1], dtype=of.dtype, device=of.device), ray.unsqueeze(-1) * ray.unsqueeze(-2)
        turn = across.unsqueeze(-1) * same + (along - across).unsqueeze(-1) * line
        change = (along - across) / far
        outward = (gradient * ray).sum(-1, keepdim=True)
        radial = (outward * (bend - 2 * change)).unsqueeze(-1) * line
        sideways = (outward * change).unsqueeze(-1) * (same - line)
        mixed = (change * gradient).unsqueeze(-1) * ray.unsqueeze(-2)
        return turn @ of @ turn + radial + sideways + mixed + mixed.mT
