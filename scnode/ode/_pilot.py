"""Time scales by eigenvalues, on a short pilot trajectory of a few cells before a solve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scnode.ode._clock import Clock
from scnode.ode._control import Control
from scnode.ode._explicit import EXPLICIT
from scnode.ode._march import March
from scnode.ode._measure import conserved, rank_tolerance

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.ode._system import FieldSystem

_CELLS = 8
_STEPS = 3
_RTOL, _ATOL = 1e-2, 1e-4


@dataclass(frozen=True)
class StiffnessReport:
    r"""Time scales met along each trajectory; every tensor has shape (batch,).

    Parameters
    ----------
    ratio
        :math:`\max|\mathrm{Re}\lambda| / \min|\mathrm{Re}\lambda|`, conserved directions left out: the median over
        the points, since at single points an eigenvalue may cross zero. 1 where no eigenvalue has a real part.
    spectral_radius
        Largest :math:`\rho = \max|\lambda|`, in 1/time.
    radius_times_interval
        :math:`\rho\,|t_1 - t_0|`, without unit. An explicit method needs about a third as many steps.
    decay_times_interval
        The same by the fastest decay, :math:`\max(-\mathrm{Re}\lambda)\,|t_1 - t_0|`: growth and oscillation have to
        be followed by any method, decay holds up explicit ones alone.
    n_conserved
        Number of linear combinations of the state that the field keeps constant.
    stiff
        Whether at any point both the ratio and the decay times the interval are large.
    """

    ratio: Tensor
    spectral_radius: Tensor
    radius_times_interval: Tensor
    decay_times_interval: Tensor
    n_conserved: Tensor
    stiff: Tensor


def pilot(system: FieldSystem, y0: Tensor, clock: Clock) -> StiffnessReport:
    """Time scales of a few cells, evenly taken from the batch, at their start and after a few explicit steps."""
    with torch.no_grad():
        rows = torch.linspace(0, len(y0) - 1, min(len(y0), _CELLS), device=y0.device).long()
        start, end = clock.start(rows), clock.end(rows)
        s = torch.stack([start, end], dim=1)
        march = March(system, (EXPLICIT["tsit5"],), Clock(s, s), Control(_RTOL, _ATOL, shared=False), None)
        ys = march.run(y0[rows].detach(), most=_STEPS)
        s = torch.stack([start, march.reached[:, 0]], dim=1)
        every = rows.repeat_interleave(2)
        matrices = system.jacobian(s.flatten(), ys.flatten(0, 1), every).unflatten(0, ys.shape[:2])
    return stiffness_along(matrices, end - start)


def stiffness_along(
    jacobians: Tensor, length: Tensor, *, min_ratio: float = 100.0, min_decay: float = 500.0
) -> StiffnessReport:
    """Report on Jacobians (batch, point, state, state) of trajectories that last `length`, shape (batch,)."""
    ratio, radius, decay, count = _measure(jacobians)
    dtype = jacobians.dtype
    largest = radius.amax(dim=1)
    decay = decay * length.unsqueeze(1)
    return StiffnessReport(
        ratio=ratio.quantile(0.5, dim=1).to(dtype),
        spectral_radius=largest.to(dtype),
        radius_times_interval=(largest * length).to(dtype),
        decay_times_interval=decay.amax(dim=1).to(dtype),
        n_conserved=count,
        stiff=((ratio > min_ratio) & (decay > min_decay)).any(dim=1),
    )


def _measure(jacobians: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ratio, spectral radius and fastest decay at each point, and the number of conserved directions."""
    count, basis = conserved(jacobians)
    n_states = jacobians.shape[-1]
    ratio = torch.ones(jacobians.shape[:2], dtype=torch.float64, device=jacobians.device)
    radius, decay = torch.zeros_like(ratio), torch.zeros_like(ratio)
    for n_conserved in count.unique().tolist():
        if n_conserved == n_states:
            continue
        rows = torch.nonzero(count == n_conserved).flatten()
        free = basis[rows, None, :, : n_states - n_conserved]
        inside = free.mT @ jacobians[rows].to(torch.float64) @ free
        values = torch.linalg.eigvals(inside)
        floor = rank_tolerance(jacobians) * torch.linalg.matrix_norm(inside).unsqueeze(-1)
        ratio[rows] = _spread(values, floor)
        radius[rows] = values.abs().amax(dim=2)
        decay[rows] = (-values.real).amax(dim=2).clamp(min=0)
    return ratio, radius, decay, count


def _spread(values: Tensor, floor: Tensor) -> Tensor:
    """Largest over smallest rate, 1 where all eigenvalues oscillate or vanish."""
    rates = values.real.abs()
    pure = (rates <= floor) & (values.imag.abs() > floor)
    slowest = torch.maximum(rates, floor).masked_fill(pure, torch.inf).amin(dim=-1)
    fastest = rates.masked_fill(pure, 0).amax(dim=-1)
    return torch.where(fastest > floor.squeeze(-1), fastest / slowest, torch.ones_like(fastest))
