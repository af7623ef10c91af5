"""Reactions of known stoichiometry, whose rates are learned."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from scnode._errors import ScnodeError
from scnode.nn._ensemble import check_networks, networks, new_networks, split, with_time
from scnode.nn._field import Field
from scnode.nn._null_space import left_null_space, whole_columns
from scnode.nn._perceptron import perceptron_jacobian
from scnode.nn._sums import write_sum

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    from torch import Tensor

_ADVICE = "Pass S of shape (species, reactions), such as scnode.pp.stoichiometry('A + B <-> C')."


class StoichiometricField(Field):
    r"""Field :math:`f(x, u, t) = S\,r(x, u, t)` of reactions whose rates :math:`r` are learned.

    .. math:: r(x, u, t) = s_v\,\mathrm{softplus}(\mathrm{MLP}((x - \mu) / s_x, t, u)),

    one network per ensemble member; the time and an input :math:`u`, such as the dose of an inhibitor, on request.
    :meth:`scnode.nn.Driven.under` gives the field under one input, which solvers take. A quantity :math:`w^\top x` with
    :math:`w^\top S = 0` is conserved whatever the rates: every method of :mod:`scnode.ode` combines velocities, or
    solves :math:`(I - h\gamma J) k = f` with :math:`w^\top J = 0`, and so keeps it to rounding. Beyond the reach of the
    data the pull back is :math:`S S^+` of that of :class:`scnode.nn.Field`, and keeps it too.

    Parameters
    ----------
    S
        Stoichiometric matrix, shape (species, reaction): how many of each species a reaction makes (positive) or takes.
        Of a :class:`pandas.DataFrame`, as :func:`scnode.pp.stoichiometry` returns, rows and columns are named. A
        reaction with fractional coefficients is written in whole ones, and its rate is that of the reaction so written.
    species, reactions
        Their names, where S does not bring them.
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
    n_controls
        Dimension of the input u, of order one; 0 for none.
    non_negative
        Reactions run forward only; a reversible one is two columns. Otherwise rates are the networks' plain values.

    Raises
    ------
    ScnodeError
        S is no finite matrix or has rank 0, names that do not fit it or come twice, a size below 1, or an unknown
        activation.

    Examples
    --------
    >>> import scnode
    >>> field = scnode.nn.StoichiometricField(scnode.pp.stoichiometry("A + B <-> C"))
    >>> field.conserved_names()
    ['A + C', 'B + C']

    References
    ----------
    :cite:p:`Schuster1991`
    """

    name: ClassVar[str] = "stoichiometric"
    S: Tensor
    inverse: Tensor

    def __init__(
        self,
        S: Any,
        *,
        species: Sequence[str] | None = None,
        reactions: Sequence[str] | None = None,
        hidden: Sequence[int] = (64, 64),
        n_members: int = 1,
        generator: torch.Generator | None = None,
        activation: str = "silu",
        time_dependent: bool = False,
        n_controls: int = 0,
        non_negative: bool = True,
    ) -> None:
        if n_controls < 0:
            raise ScnodeError(f"StoichiometricField(n_controls={n_controls}) is no dimension. Pass 0 for no input.")
        matrix = _matrix(S)
        rows, columns = (S.index, S.columns) if hasattr(S, "columns") else (None, None)
        self._start(
            _names(rows if species is None else species, matrix.shape[0], "species", "x"),
            _names(columns if reactions is None else reactions, matrix.shape[1], "reactions", "r"),
            n_members=n_members,
            generator=generator,
            hidden=hidden,
            activation=activation,
            time_dependent=time_dependent,
            n_controls=n_controls,
            non_negative=non_negative,
        )
        self.S.copy_(torch.as_tensor(matrix))
        self.inverse.copy_(torch.as_tensor(np.linalg.pinv(matrix)))

    @classmethod
    def of_sizes(
        cls, n_latent: int, *, species: Sequence[str], reactions: Sequence[str], n_reactions: int, **sizes: Any
    ) -> Self:
        """A field without values, into which a state dict is loaded."""
        names = _names(species, n_latent, "species", ""), _names(reactions, n_reactions, "reactions", "")
        field = cls.__new__(cls)
        field._start(*names, **sizes)
        return field

    def _start(
        self,
        species: list[str],
        reactions: list[str],
        *,
        hidden: Sequence[int],
        activation: str,
        time_dependent: bool,
        non_negative: bool,
        n_controls: int = 0,
        n_members: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        Field.__init__(self, len(species), n_members=n_members)
        check_networks("StoichiometricField", hidden=hidden, activation=activation)
        self.species, self.reactions = species, reactions
        self.hidden, self.activation = tuple(hidden), activation
        self.time_dependent, self.n_controls, self.non_negative = time_dependent, n_controls, non_negative
        self.register_buffer("S", torch.zeros(len(species), len(reactions)))
        self.register_buffer("inverse", torch.zeros(len(reactions), len(species)))
        widths = (len(species) + time_dependent + n_controls, *hidden, len(reactions))
        self.weights, self.biases = new_networks(n_members, widths, generator)

    @property
    def sizes(self) -> dict[str, Any]:
        """Names of species and reactions, and what the networks are."""
        return {
            "species": self.species,
            "reactions": self.reactions,
            "n_reactions": len(self.reactions),
            "hidden": list(self.hidden),
            "activation": self.activation,
            "time_dependent": self.time_dependent,
            "n_controls": self.n_controls,
            "non_negative": self.non_negative,
        }

    def fresh(self, *, n_members: int, generator: torch.Generator) -> Self:
        """An untrained field of the same reactions."""
        sizes = {name: value for name, value in self.sizes.items() if name != "n_reactions"}
        return type(self)(self.S, n_members=n_members, generator=generator, **sizes)

    @property
    def conserved(self) -> Tensor:
        r"""Basis of the :math:`w` with :math:`w^\top S = 0`, shape (quantity, species).

        Of whole coefficients these are whole numbers without a common divisor, totals of conserved moieties first.
        """
        basis = left_null_space(self.S.detach().cpu().double().numpy())
        return torch.as_tensor(basis).to(self.S)

    def conserved_names(self, species: Iterable[str] | None = None) -> list[str]:
        """Conserved quantities as sums of the species, ``"A + 2 B"``; by default under the field's own names."""
        names = _names(self.species if species is None else species, self.n_latent, "species", "")
        return [write_sum(w, names) for w in self.conserved.tolist()]

    def rates(self, t: Tensor, y: Tensor) -> Tensor:
        """Rate of every reaction at states (cell, species), for each member: (member, cell, reaction)."""
        states = y if math.isinf(self.reach) else self._within(y)
        return self.speed * self._rates(self._networks(t, self._scaled_states(states).expand(self.n_members, -1, -1)))

    def scaled(self, t: Tensor, z: Tensor) -> Tensor:
        """S times the rates of every member's network."""
        # S comes last: what is rounded before it cannot break conservation.
        return self._rates(self._networks(t, z)) @ self.S.T

    def scaled_jacobian(self, t: Tensor, z: Tensor) -> Tensor:
        """S times the chain of the layers, in closed form."""
        inputs = self._inputs(t, z)
        values = self._networks(t, z.expand(self.n_members, -1, -1))
        chains = [
            (torch.sigmoid(value)[..., None] if self.non_negative else 1)
            * perceptron_jacobian(inputs, *network, self.activation)
            for value, network in zip(values, split(self.weights, self.biases), strict=True)
        ]
        # Time and input come after the states.
        return self.S @ functools.reduce(torch.add, chains)[..., : self.n_latent] / self.n_members

    def allowed(self, direction: Tensor) -> Tensor:
        """The part of directions that reactions can make, :math:`S S^+ d`."""
        return direction @ self.inverse.T @ self.S.T

    def _networks(self, t: Tensor, z: Tensor) -> Tensor:
        return networks(self._inputs(t, z), self.weights, self.biases, self.activation)

    def _inputs(self, t: Tensor, z: Tensor) -> Tensor:
        return self._with_input(t, with_time(t, z) if self.time_dependent else z)

    def _rates(self, value: Tensor) -> Tensor:
        return F.softplus(value) if self.non_negative else value


def _matrix(S: Any) -> np.ndarray:
    """S as whole numbers where it can be, checked."""
    try:
        matrix = np.array(S.detach().cpu().numpy() if isinstance(S, torch.Tensor) else S, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ScnodeError(f"S holds what is no number ({error}). {_ADVICE}") from error
    if matrix.ndim != 2 or not matrix.size:
        raise ScnodeError(f"S has shape {matrix.shape}. {_ADVICE}")
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise ScnodeError(f"S is not finite, first in row {row}, column {column}. Pass finite coefficients.")
    if not matrix.any():
        raise ScnodeError("S is zero throughout: no reaction changes anything. Pass at least one that does.")
    whole = whole_columns(matrix)
    return matrix if whole is None else whole


def _names(given: Iterable[Any] | None, n: int, what: str, letter: str) -> list[str]:
    """Names as given, else numbered ones; as many as there are, each once."""
    names = [f"{letter}{i}" for i in range(n)] if given is None else [str(name) for name in given]
    if len(names) != n:
        raise ScnodeError(f"{len(names)} {what} are named and S has {n}. Pass {what}= with {n} names.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ScnodeError(f"{what} come more than once: {twice[:3]}. Pass each name once.")
    return names
