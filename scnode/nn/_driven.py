"""Fields that an input may drive."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from scnode._errors import ScnodeError
from scnode._rows import at_rows
from scnode.nn._inputs import Before, breaks_of, value_at

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from scnode.nn._inputs import Input


class Driven(nn.Module):
    """What every :class:`scnode.nn.Field` has to turn :math:`f(x, u, t)` into the :math:`f(x, t)` that solvers take.

    A kind that takes an input, such as :class:`scnode.nn.ControlledField`, says of how many dimensions in `n_controls`.
    """

    n_controls: int = 0
    input: Input | None = None
    input_origin: Tensor | None = None
    """Time from which the input counts, a scalar or a column (cell, 1); None for that of the field."""
    scale: Tensor

    def under(self, u: Input, *, origin: Tensor | None = None) -> Self:
        """The same field, sharing its weights, under an input.

        Parameters
        ----------
        u
            A constant (control,), one for each cell (cell, control), a :class:`scnode.nn.Schedule`, or a callable that
            takes a time, a scalar or a column (row, 1), and returns (control,) or (row, control). Gradients flow to
            all that they are made of.
        origin
            Time from which the input counts, a scalar or a column (cell, 1), such as the clock of each cell where a
            field that depends on time is under a schedule since the start; by default the input and the field count
            alike.

        Returns
        -------
        Field
            A field as :func:`scnode.ode.solve` takes it. Where the input jumps a solver must not step across: take
            :meth:`pieces`, or :meth:`scnode.model.LatentODE.flow`, which does.

        Raises
        ------
        ScnodeError
            A field that takes no input, or a constant of another dimension, or not finite.
        """
        if not self.n_controls:
            raise ScnodeError(f"This {type(self).__name__} takes no input. Make it with n_controls=.")
        if not callable(u):
            u = torch.as_tensor(u, dtype=None if torch.is_tensor(u) else self.scale.dtype)
            if u.ndim not in (1, 2) or u.shape[-1] != self.n_controls or not bool(torch.isfinite(u).all()):
                raise ScnodeError(
                    f"An input of shape {tuple(u.shape)} is no finite input of {self.n_controls} controls. Pass "
                    f"({self.n_controls},), or (cell, {self.n_controls})."
                )
        return self._bound(u, origin if callable(u) else None)

    def pieces(self) -> tuple[Tensor, list[Self]]:
        """Times at which the input jumps or bends, (break,), and the field before, between and after them.

        The times count as the input does.
        """
        if not self.n_controls:
            return torch.zeros(0), [self]
        u = self._bound_input()
        breaks = breaks_of(u)
        return breaks, [*(self._bound(Before(u, end), self.input_origin) for end in breaks), self]

    def at_rows(self, rows: Tensor) -> Self:
        """The field of some cells alone, numbers (row,), where each is under an input of its own."""
        if self.input is None:
            return self
        return self._bound(at_rows(self.input, rows), at_rows(self.input_origin, rows))

    def _bound(self, u: Input, origin: Tensor | None) -> Self:
        bound = copy.copy(self)
        # Past the registry of modules, which both share: a policy that is a module stays the caller's.
        bound.__dict__.update(input=u, input_origin=origin)
        return bound

    def _bound_input(self) -> Input:
        if self.input is None:
            raise ScnodeError("The field is under no input. Call field.under(u) first.")
        return self.input

    def _with_input(self, t: Tensor, inputs: Tensor) -> Tensor:
        """Inputs (..., row, in) of networks, and after them what the field is under, where it takes something."""
        if not self.n_controls:
            return inputs
        u = value_at(self._bound_input(), t if self.input_origin is None else t - self.input_origin).to(inputs)
        if u.shape[-1] != self.n_controls:
            raise ScnodeError(
                f"The input has shape {tuple(u.shape)} at times of shape {tuple(t.shape)}. Return (..., "
                f"{self.n_controls}), the field's controls."
            )
        return torch.cat((inputs, u.expand(*inputs.shape[:-1], self.n_controls)), -1)
