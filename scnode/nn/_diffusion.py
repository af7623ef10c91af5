"""How strongly the latent state is shaken, by state."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from scnode._errors import ScnodeError
from scnode.nn._perceptron import perceptron

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_KINDS = ("diagonal", "isotropic")
# Bounded units: the diffusion of a state far from all cells is that of the rim, at most.
_ACTIVATION = "tanh"


class Diffusion(nn.Module):
    r"""Positive diffusion :math:`G_\phi(z) = s_G\,\mathrm{softplus}(\mathrm{MLP}((z - \mu)/s_z))/\ln 2`.

    Before training it is :math:`s_G` everywhere. It is bounded, since its hidden units are.

    Parameters
    ----------
    n_latent
        Dimension of the state.
    kind
        ``"diagonal"``: each latent coordinate has a diffusion of its own; ``"isotropic"``: all share one.
    hidden
        Widths of the hidden layers; none for a diffusion of log-linear argument.
    generator
        Source of the initial weights.

    Raises
    ------
    ScnodeError
        A size below 1, or an unknown kind.

    References
    ----------
    :cite:p:`Li2020`
    """

    center: Tensor
    scale: Tensor
    level: Tensor

    def __init__(
        self,
        n_latent: int,
        *,
        kind: Literal["diagonal", "isotropic"] = "diagonal",
        hidden: Sequence[int] = (32,),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if min(n_latent, *hidden, 1) < 1:
            raise ScnodeError(f"Diffusion({n_latent}, hidden={tuple(hidden)}) needs sizes of at least 1. Pass such.")
        if kind not in _KINDS:
            raise ScnodeError(f"Diffusion(kind={kind!r}) is unknown. Pass one of {list(_KINDS)}.")
        self.n_latent, self.kind, self.hidden = n_latent, kind, tuple(hidden)
        widths = (n_latent, *hidden, n_latent if kind == "diagonal" else 1)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(widths):
            weight = (torch.rand(fan_in, fan_out, generator=generator) * 2 - 1) * math.sqrt(3 / fan_in)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(fan_out)))
        with torch.no_grad():
            self.weights[-1].zero_()
        self.register_buffer("center", torch.zeros(n_latent))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("level", torch.ones(()))

    @property
    def sizes(self) -> dict[str, Any]:
        """What rebuilds the diffusion, without weights, beside its dimension."""
        return {"kind": self.kind, "hidden": list(self.hidden)}

    def set_scales(self, *, center: Tensor, scale: Tensor, level: Tensor) -> None:
        """Fix the centre and scale of the states, and the diffusion that training starts from."""
        self.center.copy_(center)
        self.scale.copy_(scale)
        self.level.copy_(level)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Standard deviation per square root of time.

        Parameters
        ----------
        t
            Time, which plays no part.
        y
            States, shape (..., latent).

        Returns
        -------
        Tensor
            Shape of `y`.
        """
        del t
        states = ((y - self.center) / self.scale).reshape(-1, self.n_latent)
        value = nn.functional.softplus(perceptron(states, list(self.weights), list(self.biases), _ACTIVATION))
        return (self.level / math.log(2) * value).expand(-1, self.n_latent).reshape(y.shape)
