"""An ensemble of multilayer perceptrons as one vector field."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from scnode._errors import ScnodeError
from scnode.nn._field import Field
from scnode.nn._perceptron import ACTIVATIONS, fusable, perceptron, perceptron_jacobian

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class MLPField(Field):
    r"""Field :math:`f(x) = s_v\,\mathrm{MLP}((x - \mu) / s_x)`, one network per ensemble member.

    Scales, ensemble and what lies beyond the data are those of :class:`scnode.nn.Field`.

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
    activation
        Of the hidden layers: ``"silu"``, ``"softplus"`` or ``"tanh"``.
    time_dependent
        Hand the time to the networks as one more input.

    Raises
    ------
    ScnodeError
        A size below 1, or an unknown activation.
    """

    name: ClassVar[str] = "mlp"
    takes_time: ClassVar[bool] = True

    def __init__(
        self,
        n_latent: int,
        *,
        hidden: Sequence[int] = (64, 64),
        n_members: int = 1,
        generator: torch.Generator | None = None,
        activation: str = "silu",
        time_dependent: bool = False,
    ) -> None:
        super().__init__(n_latent, n_members=n_members)
        if min(hidden, default=1) < 1:
            raise ScnodeError(f"MLPField(hidden={tuple(hidden)}) needs sizes of at least 1. Pass positive integers.")
        if activation not in ACTIVATIONS:
            raise ScnodeError(f"MLPField(activation={activation!r}) is unknown. Pass one of {sorted(ACTIVATIONS)}.")
        self.hidden, self.activation, self.time_dependent = tuple(hidden), activation, time_dependent
        widths = (n_latent + time_dependent, *hidden, n_latent)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(widths):
            bound = math.sqrt(3 / fan_in)
            weight = torch.rand(n_members, fan_in, fan_out, generator=generator) * 2 - 1
            self.weights.append(nn.Parameter(weight * bound))
            self.biases.append(nn.Parameter(torch.zeros(n_members, 1, fan_out)))

    @property
    def sizes(self) -> dict[str, Any]:
        """Widths, activation and whether time is an input."""
        return {"hidden": list(self.hidden), "activation": self.activation, "time_dependent": self.time_dependent}

    def scaled(self, t: Tensor, z: Tensor) -> Tensor:
        """Value of every member's network."""
        return self._networks(self._inputs(t, z))

    def scaled_jacobian(self, t: Tensor, z: Tensor) -> Tensor:
        """Chain of the layers, in closed form."""
        inputs = self._inputs(t, z)
        chains = [perceptron_jacobian(inputs, *network, self.activation) for network in self._split()]
        # The time is the last input, and no state.
        return functools.reduce(torch.add, chains)[..., : self.n_latent] / self.n_members

    def _inputs(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.cat((z, t.to(z).expand(*z.shape[:-1], 1)), -1) if self.time_dependent else z

    def _networks(self, inputs: Tensor) -> Tensor:
        """An ensemble is one batched product a layer unless oneDNN is faster."""
        if inputs.ndim == 2:
            return self._networks(inputs.unsqueeze(0)).squeeze(0)
        weights, biases = list(self.weights), list(self.biases)
        if not fusable(inputs, weights):
            return perceptron(inputs, weights, biases, self.activation)
        pairs = zip(inputs.unbind(0), self._split(), strict=True)
        return torch.stack([perceptron(x, *network, self.activation) for x, network in pairs])

    def _split(self) -> list[tuple[list[Tensor], list[Tensor]]]:
        """Weights and biases of each member."""
        weights, biases = ([p.unbind(0) for p in layers] for layers in (self.weights, self.biases))
        return [([w[m] for w in weights], [b[m].squeeze(0) for b in biases]) for m in range(self.n_members)]
