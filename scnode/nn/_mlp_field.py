"""An ensemble of multilayer perceptrons as one vector field."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from scnode._errors import ScnodeError
from scnode.nn._perceptron import ACTIVATIONS, fusable, perceptron, perceptron_jacobian

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from scnode._typing import VectorField


class MLPField(nn.Module):
    r"""Field :math:`f(x) = s_v\,\mathrm{MLP}((x - \mu) / s_x)`, one network per ensemble member.

    Beyond a distance R of :math:`\mu`, set by :meth:`set_scales`, networks would extrapolate without bound. There the
    field is that of the nearest state within reach, :math:`p(x) = \mu + R\,(x - \mu)/\|x - \mu\|`, and a pull back to
    it: :math:`f(p(x)) - (s_v/s_x)\,(x - p(x))`, so that no trajectory leaves for good.

    A field of one member is called as ``field(t, y)`` on states (cell, latent), as solvers take it.

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
        activation: str = "silu",
        time_dependent: bool = False,
    ) -> None:
        super().__init__()
        if n_latent < 1 or n_members < 1 or min(hidden, default=1) < 1:
            raise ScnodeError(
                f"MLPField(n_latent={n_latent}, hidden={tuple(hidden)}, n_members={n_members}) "
                "needs sizes of at least 1. Pass positive integers."
            )
        if activation not in ACTIVATIONS:
            raise ScnodeError(f"MLPField(activation={activation!r}) is unknown. Pass one of {sorted(ACTIVATIONS)}.")
        self.n_latent, self.n_members, self.hidden = n_latent, n_members, tuple(hidden)
        self.activation, self.time_dependent = activation, time_dependent
        self.reach = math.inf
        widths = (n_latent + time_dependent, *hidden, n_latent)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(widths):
            bound = math.sqrt(3 / fan_in)
            weight = torch.rand(n_members, fan_in, fan_out, generator=generator) * 2 - 1
            self.weights.append(nn.Parameter(weight * bound))
            self.biases.append(nn.Parameter(torch.zeros(n_members, 1, fan_out)))
        self.register_buffer("center", torch.zeros(n_latent))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("speed", torch.ones(()))

    def set_scales(self, *, center: Tensor, scale: Tensor, speed: Tensor, reach: float = math.inf) -> None:
        """Fix the centre and scale of the states, the scale of the velocities, and how far networks are asked."""
        self.center.copy_(center)
        self.scale.copy_(scale)
        self.speed.copy_(speed)
        self.reach = reach

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Velocity of every member at its own states.

        Parameters
        ----------
        t
            Time, a scalar or a column (cell, 1).
        y
            States (member, cell, latent), or (cell, latent) where there is one member.

        Returns
        -------
        Tensor
            Shape of `y`.

        Raises
        ------
        ScnodeError
            States (cell, latent) for several members.
        """
        if y.ndim == 2 and self.n_members > 1:
            raise ScnodeError(
                f"States of shape {tuple(y.shape)} do not say which of the {self.n_members} members moves them. "
                "Call field.mean or field.members, or wrap it by scnode.nn.side_by_side."
            )
        if self.reach == math.inf:
            return self.speed * self._networks(self._inputs(t, y))
        within = self._within(y)
        return self.speed * self._networks(self._inputs(t, within)) - self._pull * (y - within)

    def members(self, t: Tensor, y: Tensor) -> Tensor:
        """Velocity of every member at the same states (cell, latent); returns (member, cell, latent)."""
        return self(t, y.expand(self.n_members, *y.shape))

    def mean(self, t: Tensor, y: Tensor) -> Tensor:
        """Velocity of the ensemble mean at states (cell, latent)."""
        return self.members(t, y).mean(0)

    def jacobian(self, t: Tensor, y: Tensor) -> Tensor:
        r"""Jacobian :math:`\partial f_i / \partial y_j` of the ensemble mean, in closed form.

        Parameters
        ----------
        t
            Time, a scalar or a column (cell, 1).
        y
            States (cell, latent).

        Returns
        -------
        Tensor
            Shape (cell, latent, latent).
        """
        inputs = self._inputs(t, y if self.reach == math.inf else self._within(y))
        chains = [perceptron_jacobian(inputs, *network, self.activation) for network in self._split()]
        # The time is the last input, and no state.
        total = functools.reduce(torch.add, chains)[..., : self.n_latent]
        total = total * (self.speed / (self.scale * self.n_members))
        if self.reach == math.inf:
            return total
        same = torch.eye(self.n_latent, dtype=y.dtype, device=y.device)
        turned = self._within_jacobian(y, same)
        return total @ turned - self._pull * (same - turned)

    @property
    def _pull(self) -> Tensor:
        # Once the usual speed over the usual spread: ten times as much makes the field stiff.
        return self.speed / self.scale

    def _within(self, y: Tensor) -> Tensor:
        """The nearest states within reach."""
        offset = y - self.center
        distance = torch.linalg.vector_norm(offset, dim=-1, keepdim=True)
        rim = self.center + offset * (self.reach / distance.clamp_min(self.reach))
        return torch.where(distance > self.reach, rim, y)

    def _within_jacobian(self, y: Tensor, same: Tensor) -> Tensor:
        offset = y - self.center
        distance = torch.linalg.vector_norm(offset, dim=-1)[:, None, None]
        far = distance.clamp_min(self.reach)
        ray = offset[:, :, None] * offset[:, None] / far.square()
        return torch.where(distance > self.reach, self.reach / far * (same - ray), same)

    def _inputs(self, t: Tensor, y: Tensor) -> Tensor:
        scaled = (y - self.center) / self.scale
        return torch.cat((scaled, t.to(y).expand(*y.shape[:-1], 1)), -1) if self.time_dependent else scaled

    def _networks(self, inputs: Tensor) -> Tensor:
        """Value of every member's network; an ensemble is one batched product a layer unless oneDNN is faster."""
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


def side_by_side(field: VectorField, n_members: int) -> VectorField:
    """A field on (member, cell, latent) for solvers, whose states hold all members of a cell: (cell, member * latent).

    Every cell stays one row, so that a solver may give it steps of its own.
    """

    def joint(t: Tensor, y: Tensor) -> Tensor:
        apart = y.unflatten(1, (n_members, -1)).transpose(0, 1)
        return field(t, apart).transpose(0, 1).flatten(1)

    return joint
