"""What every kind of vector field shares: an ensemble, the scales of the data, and a rim."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from scnode._errors import ScnodeError
from scnode._rows import at_rows
from scnode.nn._driven import Driven

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from scnode._typing import VectorField


class Field(Driven):
    r"""Ensemble of fields :math:`f(t, x) = s_v\,g(t, (x - \mu) / s_x)` with :math:`g` of order one on the data.

    Beyond a distance R of :math:`\mu`, set by :meth:`set_scales`, :math:`g` would extrapolate without bound. There the
    field is that of the nearest state within reach, :math:`p(x) = \mu + R\,(x - \mu)/\|x - \mu\|`, and a pull back to
    it: :math:`f(p(x)) - (s_v/s_x)\,(x - p(x))`, so that no trajectory leaves for good. A kind that must not leave some
    subspace takes its part of the pull in :meth:`allowed`.

    A field of one member is called as ``field(t, y)`` on states (cell, latent), as solvers take it. A kind of field
    says what :math:`g` is in :meth:`scaled` and, where it has a closed form, its Jacobian in :meth:`scaled_jacobian`.

    Parameters
    ----------
    n_latent
        Dimension of the state.
    n_members
        Size of the ensemble.

    Raises
    ------
    ScnodeError
        A size below 1.
    """

    name: ClassVar[str]
    takes_time: ClassVar[bool] = False
    """Whether the kind can be made ``time_dependent``."""
    center: Tensor
    scale: Tensor
    speed: Tensor

    def __init__(self, n_latent: int, *, n_members: int = 1) -> None:
        super().__init__()
        if n_latent < 1 or n_members < 1:
            raise ScnodeError(
                f"{type(self).__name__}(n_latent={n_latent}, n_members={n_members}) needs sizes of at least 1. "
                "Pass positive integers."
            )
        self.n_latent, self.n_members = n_latent, n_members
        self.reach, self.time_dependent = math.inf, False
        self.register_buffer("center", torch.zeros(n_latent))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("speed", torch.ones(()))

    @property
    def sizes(self) -> dict[str, Any]:
        """What rebuilds the field, without weights, beside its dimension and the size of its ensemble."""
        return {}

    def fresh(self, *, n_members: int, generator: torch.Generator) -> Self:
        """An untrained field of the same kind and sizes."""
        # The weights are the kind's, and so is what they are drawn from.
        drawn: dict[str, Any] = {"generator": generator, **self.sizes}
        return type(self)(self.n_latent, n_members=n_members, **drawn)

    def scaled(self, t: Tensor, z: Tensor) -> Tensor:
        """Scaled velocity of every member at its own scaled states, (member, cell, latent) or one member's."""
        raise NotImplementedError

    def scaled_jacobian(self, t: Tensor, z: Tensor) -> Tensor:
        """Jacobian of the members' mean of :meth:`scaled` at scaled states (cell, latent): (cell, latent, latent)."""

        def mean(one: Tensor, at: Tensor) -> Tensor:
            return self.scaled(at, one.expand(self.n_members, 1, -1)).mean(0)[0]

        at = t.to(z).expand(len(z), 1)
        return torch.func.vmap(torch.func.jacrev(mean))(z, at)

    def allowed(self, direction: Tensor) -> Tensor:
        """The part of directions (..., latent) in which the field may move a state at all."""
        return direction

    def set_scales(self, *, center: Tensor, scale: Tensor, speed: Tensor, reach: float = math.inf) -> None:
        """Fix the centre and scale of the states, the scale of the velocities, and how far :math:`g` is asked."""
        self.center.copy_(center)
        self.scale.copy_(scale)
        self.speed.copy_(speed)
        self.reach = reach

    def prepare(self, states: Tensor, velocity: Tensor, weight: Tensor) -> bool:
        """Begin near velocities at states (cell, latent), of weights (member, cell), if a kind can; whether it did."""
        del states, velocity, weight
        return False

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
            return self.speed * self.scaled(t, self._scaled_states(y))
        return self._confined(t, y)

    def members(self, t: Tensor, y: Tensor) -> Tensor:
        """Velocity of every member at the same states (cell, latent); returns (member, cell, latent)."""
        return self(t, y.expand(self.n_members, *y.shape))

    def mean(self, t: Tensor, y: Tensor) -> Tensor:
        """Velocity of the ensemble mean at states (cell, latent)."""
        return self.members(t, y).mean(0)

    def jacobian(self, t: Tensor, y: Tensor) -> Tensor:
        r"""Jacobian :math:`\partial f_i / \partial y_j` of the ensemble mean.

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
        if self.reach == math.inf:
            return self.scaled_jacobian(t, self._scaled_states(y)) * (self.speed / self.scale)
        return self._confined_jacobian(t, y)

    def penalty(self, t: Tensor, y: Tensor) -> Tensor:
        """What this kind adds to the loss at states (cell, latent), a scalar: nothing unless it says so."""
        del t
        return y.new_zeros(())

    def report(self, t: Tensor, y: Tensor) -> dict[str, float]:
        """Figures of this kind at states (cell, latent) for the report of a fit: none unless it has such."""
        del t, y
        return {}

    def _confined(self, t: Tensor, y: Tensor) -> Tensor:
        """Velocity where the reach ends."""
        within = self._within(y)
        return self.speed * self.scaled(t, self._scaled_states(within)) - self._pull * self.allowed(y - within)

    def _confined_jacobian(self, t: Tensor, y: Tensor) -> Tensor:
        same = torch.eye(self.n_latent, dtype=y.dtype, device=y.device)
        turned = self._within_jacobian(y, same)
        inside = self.scaled_jacobian(t, self._scaled_states(self._within(y))) * (self.speed / self.scale)
        return inside @ turned - self._pull * self.allowed((same - turned).mT).mT

    @property
    def _pull(self) -> Tensor:
        # Once the usual speed over the usual spread: ten times as much makes the field stiff.
        return self.speed / self.scale

    def _scaled_states(self, y: Tensor) -> Tensor:
        return (y - self.center) / self.scale

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


def side_by_side(field: VectorField, n_members: int) -> VectorField:
    """A field on (member, cell, latent) for solvers, whose states hold all members of a cell: (cell, member * latent).

    Every cell stays one row, so that a solver may give it steps of its own.
    """
    return _SideBySide(field, n_members)


@dataclass(frozen=True)
class _SideBySide:
    field: VectorField
    n_members: int

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        apart = y.unflatten(1, (self.n_members, -1)).transpose(0, 1)
        return self.field(t, apart).transpose(0, 1).flatten(1)

    def at_rows(self, rows: Tensor) -> _SideBySide:
        return _SideBySide(at_rows(self.field, rows), self.n_members)
