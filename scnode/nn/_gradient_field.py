"""An ensemble of potentials whose negative gradient is the field, with a circulation that no potential has."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from scnode._errors import ScnodeError
from scnode.nn._field import Field
from scnode.nn._perceptron import ACTIVATIONS, perceptron, perceptron_jacobian
from scnode.nn._retraction import Retraction
from scnode.nn._scalars import gradients, hessians

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_PENALTY = 0.1
"""Price of circulation: a flow that only goes round is slowed by half of it."""

_TINY = 1e-8


class GradientField(Field):
    r"""Field :math:`f = -\nabla U`, with :math:`U` a perceptron per ensemble member; it has no curl.

    With `circulation`, :math:`f = -\nabla U + c` with :math:`c_i = \sum_j \partial_j A_{ij}`,
    :math:`A = \sum_k h_k(x)\,(a_k b_k^\top - b_k a_k^\top)`, learned scalars :math:`h_k` and vectors :math:`a_k, b_k`:

    .. math:: c = \sum_k a_k\,(b_k\cdot\nabla h_k) - b_k\,(a_k\cdot\nabla h_k), \qquad \nabla\cdot c = 0 .

    Then :math:`\nabla^2 U = -\nabla\cdot f`, which leaves :math:`U` free up to a harmonic function; :meth:`penalty`
    chooses the one that leaves the least circulation on the cells, and circulation begins at zero.

    Beyond the reach R of :meth:`scnode.nn.Field.set_scales` the confinement of other fields would have a curl. Here the
    scalars are confined and not their gradients: with :math:`r` the distance from the centre in units of the scale and
    :math:`q(x)` the state in the same direction at the distance :math:`R + \tanh(r - R)`,

    .. math:: U_R(x) = U(q(x)) + \tfrac12 \frac{s_v}{s_x}\,(\|x - \mu\| - R)_+^2

    and likewise :math:`h_k(q(x))`, so that the curl of one part and the divergence of the other vanish everywhere, the
    field is continuous, and no trajectory leaves for good.

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
    circulation
        Whether to add the part without divergence.
    n_planes
        Number of terms of :math:`A`, bounded by the :math:`d(d-1)/2` planes of :math:`d` dimensions.

    Raises
    ------
    ScnodeError
        A size below 1, an unknown activation, or a circulation in one dimension.

    References
    ----------
    :cite:p:`Wang2008`, :cite:p:`Bhatia2013`
    """

    name: ClassVar[str] = "gradient"
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
        circulation: bool = False,
        n_planes: int = 4,
    ) -> None:
        super().__init__(n_latent, n_members=n_members)
        _check(n_latent, hidden, activation, circulation=circulation, n_planes=n_planes)
        self.hidden, self.activation, self.time_dependent = tuple(hidden), activation, time_dependent
        self.circulation, self.n_planes = circulation, n_planes
        n_terms = min(n_planes, n_latent * (n_latent - 1) // 2) if circulation else 0
        widths = (n_latent + time_dependent, *hidden, 1 + n_terms)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(widths):
            weight = torch.rand(n_members, fan_in, fan_out, generator=generator) * 2 - 1
            self.weights.append(nn.Parameter(weight * math.sqrt(3 / fan_in)))
        for width in hidden:
            self.biases.append(nn.Parameter(torch.zeros(n_members, 1, width)))
        with torch.no_grad():
            self.weights[-1][..., 1:].zero_()
        planes = torch.randn(n_members, n_terms, 2, n_latent, generator=generator)
        self.planes = nn.Parameter(torch.nn.functional.normalize(planes, dim=-1))

    @property
    def sizes(self) -> dict[str, Any]:
        """Widths, activation, whether time is an input, and the circulation's size."""
        return {
            "hidden": list(self.hidden),
            "activation": self.activation,
            "time_dependent": self.time_dependent,
            "circulation": self.circulation,
            "n_planes": self.n_planes,
        }

    def potential(self, y: Tensor, *, t: Tensor | None = None) -> Tensor:
        """Potential of the ensemble mean, in squared units of the state per unit of time.

        Parameters
        ----------
        y
            States (cell, latent).
        t
            Time, a scalar or a column (cell, 1), where the field depends on it; 0 by default.

        Returns
        -------
        Tensor
            Shape (cell,), up to a constant.
        """
        rim, at = self._rim(y), y.new_zeros(()) if t is None else t
        inputs = self._inputs(at, self._scaled_states(y) if rim is None else rim.states)
        scalars = perceptron(inputs.expand(self.n_members, -1, -1), *self._networks(), self.activation)
        height = scalars[..., 0].mean(0)
        if rim is not None:
            height = height + rim.beyond.square().sum(-1) / 2
        return self.speed * self.scale * height

    def parts(self, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Both parts of every member's field, :math:`-\nabla U` and :math:`c`.

        Parameters
        ----------
        t
            Time, a scalar or a column (cell, 1).
        y
            States (member, cell, latent), or (cell, latent) for all members.

        Returns
        -------
        tuple
            Two of shape (member, cell, latent), whose sum is the field.
        """
        states = y.expand(self.n_members, *y.shape[-2:])
        rim = self._rim(states)
        if rim is None:
            slopes = self._gradients(t, self._scaled_states(states))
            uphill = slopes[:, :, 0]
        else:
            slopes = rim.gradient(self._gradients(t, rim.states))
            # The pull over a distance of the scale is the speed.
            uphill = slopes[:, :, 0] + rim.beyond
        return -self.speed * uphill, self.speed * self._turned(slopes[:, :, 1:])

    def penalty(self, t: Tensor, y: Tensor) -> Tensor:
        r"""Mean of :math:`0.1\,\|c_m\|/s_v` over the members, with root mean squares over states (cell, latent).

        A square would hardly price the little circulation that a potential could as well take over.
        """
        if not self.circulation:
            return super().penalty(t, y)
        square = self.parts(t, y)[1].square().sum(-1).mean(1) / self.speed.square()
        return _PENALTY * (square + _TINY).sqrt().mean()

    def report(self, t: Tensor, y: Tensor) -> dict[str, float]:
        r"""What the ensemble mean is made of at states (cell, latent).

        Returns
        -------
        dict
            `potential` and `circulation`, the mean squared speed of each part over that of their sum, and `cosine`,
            :math:`-\langle\nabla U, c\rangle / (\|\nabla U\|\,\|c\|)` over all states, 0 where a part vanishes: the
            two shares sum to 1 where it is 0.
        """
        with torch.no_grad():
            downhill, around = (part.mean(0).double() for part in self.parts(t, y))
        total = float((downhill + around).square().sum()) or 1.0
        squares = [float(part.square().sum()) for part in (downhill, around)]
        cosine = float((downhill * around).sum()) / (math.sqrt(squares[0] * squares[1]) or 1.0)
        return {"potential": squares[0] / total, "circulation": squares[1] / total, "cosine": cosine}

    def scaled(self, t: Tensor, z: Tensor) -> Tensor:
        """Downhill of every member's potential, and around."""
        slopes = self._gradients(t, z if z.ndim == 3 else z.unsqueeze(0))
        found = self._turned(slopes[:, :, 1:]) - slopes[:, :, 0]
        return found if z.ndim == 3 else found.squeeze(0)

    def scaled_jacobian(self, t: Tensor, z: Tensor) -> Tensor:
        """Hessians of the scalars, in closed form; symmetric without circulation."""
        return self._of_hessians(t, z)

    def _confined(self, t: Tensor, y: Tensor) -> Tensor:
        downhill, around = self.parts(t, y)
        return (downhill + around).view(y.shape)

    def _confined_jacobian(self, t: Tensor, y: Tensor) -> Tensor:
        same = torch.eye(self.n_latent, dtype=y.dtype, device=y.device)
        inside = self._of_hessians(t, self._scaled_states(y), self._rim(y)) * (self.speed / self.scale)
        return inside - self._pull * (same - self._within_jacobian(y, same))

    def _of_hessians(self, t: Tensor, z: Tensor, rim: Retraction | None = None) -> Tensor:
        """Mean over the members of the Jacobian by scaled states (cell, latent)."""
        inputs, d = self._inputs(t, z if rim is None else rim.states), self.n_latent
        total = z.new_zeros(len(z), d, d)
        for weights, biases, turns in self._split():
            bent = hessians(inputs, weights, biases, self.activation)[..., :d, :d]
            if rim is not None:
                slopes = perceptron_jacobian(inputs, weights, biases, self.activation)[..., :d]
                bent = rim.hessian(bent, slopes)
            total = total + torch.einsum("kij,nkjl->nil", turns, bent[:, 1:]) - bent[:, 0]
        return total / self.n_members

    def _rim(self, y: Tensor) -> Retraction | None:
        """Where the scalars are asked in place of these states, in scaled units; nowhere else without a reach."""
        return None if self.reach == math.inf else Retraction.of(self._scaled_states(y), self.reach / self.scale)

    def _gradients(self, t: Tensor, z: Tensor) -> Tensor:
        """Of every member's scalars by its scaled states, (member, cell, scalar, latent)."""
        return gradients(self._inputs(t, z), *self._networks(), self.activation)[..., : self.n_latent]

    def _turned(self, slopes: Tensor) -> Tensor:
        return torch.einsum("mkij,mckj->mci", self._turns, slopes)

    @property
    def _turns(self) -> Tensor:
        """Antisymmetric matrix of every plane, (member, plane, latent, latent)."""
        a, b = self.planes.unbind(2)
        outer = a.unsqueeze(-1) * b.unsqueeze(-2)
        return outer - outer.mT

    def _inputs(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.cat((z, t.to(z).expand(*z.shape[:-1], 1)), -1) if self.time_dependent else z

    def _networks(self) -> tuple[list[Tensor], list[Tensor]]:
        weights = list(self.weights)
        # Constants of the scalars move nothing.
        return weights, [*self.biases, weights[-1].new_zeros(self.n_members, 1, weights[-1].shape[-1])]

    def _split(self) -> list[tuple[list[Tensor], list[Tensor], Tensor]]:
        """Weights, biases and antisymmetric matrices of each member."""
        weights, biases = self._networks()
        turns = self._turns
        return [([w[m] for w in weights], [b[m, 0] for b in biases], turns[m]) for m in range(self.n_members)]


class CirculatingField(GradientField):
    """A :class:`~scnode.nn.GradientField` with circulation, for tools that know kinds by name."""

    name: ClassVar[str] = "gradient+circulation"

    def __init__(self, n_latent: int, *, circulation: bool = True, **sizes: Any) -> None:
        super().__init__(n_latent, circulation=circulation, **sizes)


def _check(n_latent: int, hidden: Sequence[int], activation: str, *, circulation: bool, n_planes: int) -> None:
    if min((*hidden, n_planes)) < 1:
        raise ScnodeError(
            f"GradientField(hidden={tuple(hidden)}, n_planes={n_planes}) needs sizes of at least 1. Pass positive "
            "integers."
        )
    if activation not in ACTIVATIONS:
        raise ScnodeError(f"GradientField(activation={activation!r}) is unknown. Pass one of {sorted(ACTIVATIONS)}.")
    if circulation and n_latent < 2:
        raise ScnodeError("Nothing circulates in one dimension. Leave circulation out, or pass n_latent=2 or more.")
