"""Confine a flow to states on which chosen linear readouts keep their level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField


@dataclass(frozen=True)
class Hold:
    r"""Constraint :math:`A z = b`, kept with the least change of the state and of its velocity.

    Parameters
    ----------
    readout
        :math:`A`, one row for each quantity held, shape (held, latent); rows must be independent.
    level
        :math:`b`, shape (held,).
    """

    readout: Tensor
    level: Tensor

    def confine(self, states: Tensor) -> Tensor:
        r"""Nearest states that meet the constraint, :math:`z - A^+(Az - b)`."""
        return states - (states @ self.readout.T - self.level) @ torch.linalg.pinv(self.readout).T

    def wrap(self, field: VectorField) -> VectorField:
        r"""The field along the constraint, :math:`f - A^+ A f`."""
        across = (torch.linalg.pinv(self.readout) @ self.readout).T

        def held(t: Tensor, y: Tensor) -> Tensor:
            velocity = field(t, y)
            return velocity - velocity @ across

        return held
