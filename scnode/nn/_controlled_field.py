"""An ensemble of perceptrons that an input drives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from scnode._errors import ScnodeError
from scnode.nn._mlp_field import MLPField

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor


class ControlledField(MLPField):
    r"""Field :math:`f(x, u) = s_v\,g((x - \mu) / s_x, u)` under an input :math:`u(t)`: a dose, a drug, a stimulus.

    :math:`g` is a perceptron of state and input, or with `rest` the difference
    :math:`g(z, u) = h(z, u) - h(z, 0)`, so that nothing moves without input. Scales, ensemble and what lies beyond the
    data are those of :class:`scnode.nn.Field`. :meth:`scnode.nn.Driven.under` gives the field under one input, which
    solvers take.

    Parameters
    ----------
    n_latent
        Dimension of the state.
    n_controls
        Dimension of the input, of order one.
    rest
        Whether the field vanishes where the input is 0.
    hidden, n_members, generator, activation, time_dependent
        As in :class:`scnode.nn.MLPField`.

    Raises
    ------
    ScnodeError
        A size below 1, or an unknown activation.

    References
    ----------
    :cite:p:`Sontag1998`

    Examples
    --------
    >>> import torch
    >>> from scnode import nn, ode
    >>> field = nn.ControlledField(2, n_controls=1, rest=True).under(torch.tensor([0.0]))
    >>> ode.solve(field, torch.ones(1, 2), torch.tensor([0.0, 1.0])).ys[0, -1].tolist()
    [1.0, 1.0]
    """

    name: ClassVar[str] = "controlled"

    def __init__(
        self,
        n_latent: int,
        *,
        n_controls: int = 1,
        rest: bool = False,
        hidden: Sequence[int] = (64, 64),
        n_members: int = 1,
        generator: torch.Generator | None = None,
        activation: str = "silu",
        time_dependent: bool = False,
    ) -> None:
        if n_controls < 1:
            raise ScnodeError(f"ControlledField(n_controls={n_controls}) has no input. Pass at least 1.")
        super().__init__(
            n_latent,
            hidden=hidden,
            n_members=n_members,
            generator=generator,
            activation=activation,
            time_dependent=time_dependent,
            n_further=n_controls,
        )
        self.n_controls, self.rest = n_controls, rest

    @property
    def sizes(self) -> dict[str, Any]:
        """Those of the perceptron, the dimension of the input, and whether nothing moves without it."""
        return {**super().sizes, "n_controls": self.n_controls, "rest": self.rest}

    def scaled(self, t: Tensor, z: Tensor) -> Tensor:
        """Value of every member's network at state and input."""
        driven = super().scaled(t, z)
        return driven - MLPField.scaled(self._idle(), t, z) if self.rest else driven

    def scaled_jacobian(self, t: Tensor, z: Tensor) -> Tensor:
        """Chain of the layers, by the state alone."""
        driven = super().scaled_jacobian(t, z)
        return driven - MLPField.scaled_jacobian(self._idle(), t, z) if self.rest else driven

    def _idle(self) -> ControlledField:
        return self.under(self.scale.new_zeros(self.n_controls))
