"""An ensemble of multilayer perceptrons as one vector field."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from scnode._errors import ScnodeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class MLPField(nn.Module):
    r"""Autonomous field :math:`f(x) = s_v\,\mathrm{MLP}((x - \mu) / s_x)`, one network per ensemble member.

    All members share one batched matrix product per layer, so an ensemble costs one pass rather than `n_members`.

    Parameters
    ----------
    n_latent
        Dimension of the state.
    hidden
        Widths of the hidden layers.
    n_members
        Size of the ensemble.
    generator
        Source of the initial weights.
    """

    center: Tensor
    scale: Tensor
    speed: Tensor

    def __init__(
        self,
        n_latent: int,
        *,
        hidden: Sequence[int] = (64, 64),
        n_members: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if n_latent < 1 or n_members < 1 or min(hidden, default=1) < 1:
            raise ScnodeError(
                f"MLPField(n_latent={n_latent}, hidden={tuple(hidden)}, n_members={n_members}) "
                "needs sizes of at least 1. Pass positive integers."
            )
        self.n_latent, self.n_members, self.hidden = n_latent, n_members, tuple(hidden)
        widths = (n_latent, *hidden, n_latent)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(widths):
            bound = math.sqrt(3 / fan_in)
            weight = torch.rand(n_members, fan_in, fan_out, generator=generator) * 2 - 1
            self.weights.append(nn.Parameter(weight * bound))
            self.biases.append(nn.Parameter(torch.zeros(n_members, 1, fan_out)))
        self.register_buffer("center", torch.zeros(n_latent))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("speed", torch.ones(()))

    def set_scales(self, *, center: Tensor, scale: Tensor, speed: Tensor) -> None:
        """Fix the centre and scale of the states and the scale of the velocities."""
        self.center.copy_(center)
        self.scale.copy_(scale)
        self.speed.copy_(speed)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Velocity of every member at its own states: `y` and the result are (member, cell, latent)."""
        del t
        h = (y - self.center) / self.scale
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, h, weight)
            h = h if i == last else nn.functional.silu(h)
        return self.speed * h

    def members(self, t: Tensor, y: Tensor) -> Tensor:
        """Velocity of every member at the same states (cell, latent); returns (member, cell, latent)."""
        return self(t, y.expand(self.n_members, *y.shape))

    def mean(self, t: Tensor, y: Tensor) -> Tensor:
        """Velocity of the ensemble mean at states (cell, latent)."""
        return self.members(t, y).mean(0)

    def stacked(self, t: Tensor, y: Tensor) -> Tensor:
        """Velocity for states stacked member after member, shape (member * cell, latent), as solvers take them."""
        return self(t, y.reshape(self.n_members, -1, self.n_latent)).reshape(y.shape)
