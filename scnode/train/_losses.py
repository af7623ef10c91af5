"""Loss terms: tensors in, one named record out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from scnode import ode
from scnode.nn import side_by_side

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.nn import Field


# Enough to bring trajectories back to the cells; more would cost accuracy among them.
SURROUNDINGS = 0.1
_STEPS = 16
# Coordinates of all members together beyond which a Jacobian costs more than the small steps of an explicit method.
MOST_IMPLICIT = 128


@dataclass(frozen=True)
class LossTerms:
    """Loss of one batch.

    Parameters
    ----------
    regression
        Mismatch of field and local evidence, in units of the mean squared speed.
    surroundings
        The same for states around the cells, whose velocity leads back to them.
    bridge
        The same for states between snapshots.
    path
        Mismatch of solved and observed short trajectories, in units of the states' variance along them.
    snapshots
        Energy distance of solved and observed snapshots, in units of the states' scale.
    penalty
        What the kind of field adds, see :meth:`scnode.nn.Field.penalty`.
    local
        Weight of `regression` and `path`.
    """

    regression: Tensor
    surroundings: Tensor | None = None
    bridge: Tensor | None = None
    path: Tensor | None = None
    snapshots: Tensor | None = None
    penalty: Tensor | None = None
    local: float = 1.0

    @property
    def total(self) -> Tensor:
        """Weighted sum of the terms."""
        total = self.local * self.regression
        extra = (
            (SURROUNDINGS, self.surroundings),
            (1.0, self.bridge),
            (self.local, self.path),
            (1.0, self.snapshots),
            (1.0, self.penalty),
        )
        for weight, term in extra:
            if term is not None:
                total = total + weight * term
        return total


def regression_loss(field: Field, t: Tensor, latent: Tensor, velocity: Tensor, weight: Tensor) -> Tensor:
    r""":math:`\sum_{m,i} w_{mi}\|f_m(x_i) - v_i\|^2 / (s^2\sum_{m,i} w_{mi})`.

    Parameters
    ----------
    field
        Ensemble.
    t
        Time handed to the field, a scalar or a column (cell, 1).
    latent, velocity
        Shape (cell, latent).
    weight
        Bootstrap weight times precision, shape (member, cell).
    """
    error = (field.members(t, latent) - velocity).square().sum(-1) / field.speed.square()
    return (weight * error).sum() / weight.sum()


def path_loss(field: Field, times: Tensor, states: Tensor, weight: Tensor, *, solve_options: dict[str, Any]) -> Tensor:
    r""":math:`\sum_{m,i} w_{mi}\sum_k\|\phi_m^{t_{ik}}(x_i) - x_{ik}\|^2` over the squared lengths of the paths.

    Parameters
    ----------
    field
        Ensemble; every member is solved from the same starts, each cell at times of its own.
    times
        Strictly increasing, as the field counts them, shape (cell, step).
    states
        Observed states, the start first, shape (cell, step, latent).
    weight
        Shape (member, cell).
    solve_options
        Passed to :func:`scnode.ode.solve`; of long states ``solver="auto"`` takes dopri5 alone.
    """
    m = len(weight)
    if m * states.shape[2] > MOST_IMPLICIT and solve_options.get("solver", "auto") == "auto":
        solve_options = solve_options | {"solver": "dopri5"}
    ys = ode.solve(side_by_side(field, m), states[:, 0].repeat(1, m), times, **solve_options).ys
    paths = ys.unflatten(2, (m, -1)).movedim(2, 0)
    error = (paths - states)[:, :, 1:].square().sum((-1, -2))
    length = (states[:, 1:] - states[:, :1]).square().sum((-1, -2)).mean()
    # A small last batch may hold dead ends only, whose paths have no length.
    length = length.clamp_min(1e-8 * field.scale.square())
    return (weight * error).sum() / (weight.sum() * length)


def snapshot_loss(
    field: Field,
    snapshot: Tensor,
    window: Tensor,
    states: Tensor,
    weight: Tensor,
    *,
    solve_options: dict[str, Any],
    growth: Tensor | None = None,
) -> Tensor:
    r"""Energy distance between each snapshot and the one before it, carried there by the flow.

    :math:`2E\|x - y\| - E\|x - x'\| - E\|y - y'\|`, the mean over snapshots and members, without bias from the size of
    the batch (:cite:p:`Szekely2013`). A cell arrives as its :math:`e^{g\,\Delta t}` descendants.

    Parameters
    ----------
    field
        Ensemble.
    snapshot
        Number of each cell's snapshot, shape (cell,).
    window
        Its time and that of the next one, shape (cell, 2); equal for the last.
    states
        Shape (cell, latent).
    weight
        Bootstrap weights, shape (member, cell).
    solve_options
        Passed to :func:`scnode.ode.solve`; ``solver="auto"`` takes the classical Runge-Kutta method with sixteen
        steps over the longest window, so that a field that is still wild costs no more than a tame one; without
        gradients it takes dopri5, so that a state is judged by its flow and not by those steps.
    growth
        Rate g of each cell, shape (cell,); 0 by default.
    """
    m = len(weight)
    moving = window[:, 1] > window[:, 0]
    # A small last batch may hold cells of the last snapshot alone.
    if not moving.any():
        return states.new_zeros(())
    options = _bounded(solve_options, window[moving])
    ys = ode.solve(side_by_side(field, m), states[moving].repeat(1, m), window[moving], **options).ys
    arrived = ys[:, -1].unflatten(1, (m, -1)).transpose(0, 1)
    return paired_energy(field, arrived, snapshot, window, states, moving=moving, weight=weight, growth=growth)


def paired_energy(
    field: Field,
    arrived: Tensor,
    snapshot: Tensor,
    window: Tensor,
    states: Tensor,
    *,
    moving: Tensor,
    weight: Tensor,
    growth: Tensor | None = None,
) -> Tensor:
    """Mean energy distance of what arrived (member, moving cell, latent) from the cells of the next snapshot."""
    m = len(arrived)
    origin, terms = snapshot[moving], []
    grown = torch.zeros_like(states[:, 0]) if growth is None else growth * window.diff(dim=1)[:, 0]
    for k in origin.unique():
        came, there = origin == k, snapshot == k + 1
        # Pairs of two are the least that have a distance within.
        if came.sum() > 1 and there.sum() > 1:
            here = states[there].expand(m, -1, -1)
            descending = weight[:, moving][:, came] * grown[moving][came].softmax(0)
            terms.append(energy_distance(arrived[:, came], here, descending, weight[:, there]).mean())
    return torch.stack(terms).mean() / field.scale if terms else states.new_zeros(())


def _bounded(solve_options: dict[str, Any], window: Tensor) -> dict[str, Any]:
    # A trajectory that runs away stops where it is: its distance from the snapshot is what mends the field.
    options = solve_options | {"on_failure": "return"}
    if options.get("solver", "auto") != "auto":
        return options
    if not torch.is_grad_enabled():
        return options | {"solver": "dopri5"}
    return options | {"solver": "rk4", "step": float(window.diff(dim=1).max()) / _STEPS}


def energy_distance(x: Tensor, y: Tensor, x_weight: Tensor, y_weight: Tensor) -> Tensor:
    """Unbiased energy distance of weighted clouds (member, cell, latent), one a member."""
    a, b = (w / w.sum(1, keepdim=True) for w in (x_weight, y_weight))
    across = torch.einsum("mi,mj,mij->m", a, b, _distances(x, y))
    within = (
        torch.einsum("mi,mj,mij->m", w, w, _distances(z, z)) / (1 - w.square().sum(1)) for z, w in ((x, a), (y, b))
    )
    return 2 * across - sum(within)


def _distances(x: Tensor, y: Tensor) -> Tensor:
    # Through products of matrices, small distances lose their digits and their gradients.
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
