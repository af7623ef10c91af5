"""An ensemble of multilayer perceptrons as one vector field."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from scnode.nn._ensemble import check_networks, networks, new_networks, split, with_time
from scnode.nn._field import Field
from scnode.nn._perceptron import perceptron_jacobian

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
    n_further
        Number of inputs after state and time, for kinds that have such.

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
        n_further: int = 0,
    ) -> None:
        super().__init__(n_latent, n_members=n_members)
        check_networks("MLPField", hidden=hidden, activation=activation)
        self.hidden, self.activation, self.time_dependent = tuple(hidden), activation, time_dependent
        widths = (n_latent + time_dependent + n_further, *hidden, n_latent)
        self.weights, self.biases = new_networks(n_members, widths, generator)

    @property
    def sizes(self) -> dict[str, Any]:
        """Widths, activation and whether time is an input."""
        return {"hidden": list(self.hidden), "activation": self.activation, "time_dependent": self.time_dependent}

    def scaled(self, t: Tensor, z: Tensor) -> Tensor:
        """Value of every member's network."""
        return networks(self._inputs(t, z), self.weights, self.biases, self.activation)

    def scaled_jacobian(self, t: Tensor, z: Tensor) -> Tensor:
        """Chain of the layers, in closed form."""
        return functools.reduce(torch.add, self.member_jacobians(t, z)) / self.n_members

    def member_jacobians(self, t: Tensor, z: Tensor) -> list[Tensor]:
        """Jacobian of each member's network at the same scaled states (cell, latent): (cell, latent, latent)."""
        inputs = self._inputs(t, z)
        apart = split(self.weights, self.biases)
        # Time and what follows it are no states.
        return [perceptron_jacobian(inputs, *own, self.activation)[..., : self.n_latent] for own in apart]

    def _inputs(self, t: Tensor, z: Tensor) -> Tensor:
        return self._with_input(t, with_time(t, z) if self.time_dependent else z)
