"""Loss terms: tensors in, one named record out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scnode import ode
from scnode.nn import side_by_side

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.nn import MLPField


# Enough to bring trajectories back to the cells; more would cost accuracy among them.
_RETURN = 0.1


@dataclass(frozen=True)
class LossTerms:
    """Loss of one batch.

    Parameters
    ----------
    regression
        Mismatch of field and local evidence, in units of the mean squared speed.
    surroundings
        The same for states around the cells, whose velocity leads back to them.
    path
        Mismatch of solved and observed short trajectories, in units of the states' variance along them.
    """

    regression: Tensor
    surroundings: Tensor
    path: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """Weighted sum of the terms."""
        local = self.regression + _RETURN * self.surroundings
        return local if self.path is None else local + self.path


def regression_loss(field: MLPField, t: Tensor, latent: Tensor, velocity: Tensor, weight: Tensor) -> Tensor:
    r""":math:`\sum_{m,i} w_{mi}\|f_m(x_i) - v_i\|^2 / (s^2\sum_{m,i} w_{mi})`.

    Parameters
    ----------
    field
        Ensemble.
    t
        Time handed to the field, a scalar.
    latent, velocity
        Shape (cell, latent).
    weight
        Bootstrap weight times precision, shape (member, cell).
    """
    error = (field.members(t, latent) - velocity).square().sum(-1) / field.speed.square()
    return (weight * error).sum() / weight.sum()


def path_loss(
    field: MLPField, times: Tensor, states: Tensor, weight: Tensor, *, solve_options: dict[str, Any]
) -> Tensor:
    r""":math:`\sum_{m,i} w_{mi}\sum_k\|\phi_m^{t_{ik}}(x_i) - x_{ik}\|^2` over the squared lengths of the paths.

    Parameters
    ----------
    field
        Ensemble; every member is solved from the same starts, each cell at times of its own.
    times
        Strictly increasing, shape (cell, step).
    states
        Observed states, the start first, shape (cell, step, latent).
    weight
        Shape (member, cell).
    solve_options
        Passed to :func:`scnode.ode.solve`.
    """
    m = len(weight)
    ys = ode.solve(side_by_side(field, m), states[:, 0].repeat(1, m), times, **solve_options).ys
    paths = ys.unflatten(2, (m, -1)).movedim(2, 0)
    error = (paths - states)[:, :, 1:].square().sum((-1, -2))
    length = (states[:, 1:] - states[:, :1]).square().sum((-1, -2)).mean()
    # A small last batch may hold dead ends only, whose paths have no length.
    length = length.clamp_min(1e-8 * field.scale.square())
    return (weight * error).sum() / (weight.sum() * length)
