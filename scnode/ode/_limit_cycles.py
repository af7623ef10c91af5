"""Closed orbits that trajectories come to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from scnode._errors import SolverError
from scnode.ode._solve import solve

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField

_POINTS = 200
_TIMES = 4000
# Two turns at least, so that a slow spiral is not taken for an orbit.
_TURNS = 2


@dataclass(frozen=True)
class LimitCycles:
    """Attracting closed orbits, the most often reached first; n is their number.

    Parameters
    ----------
    orbit
        One period, equally spaced in time, shape (n, 200, state).
    period
        Shape (n,).
    which
        Number of the orbit that each start comes to, -1 for none, shape (batch,).
    """

    orbit: Tensor
    period: Tensor
    which: Tensor


def limit_cycles(
    field: VectorField, starts: Tensor, horizon: float, *, tol: float = 0.01, rtol: float = 1e-5, atol: float = 1e-7
) -> LimitCycles:
    r"""Attracting limit cycles by the return map.

    Every start is followed for the horizon, and from its end :math:`y` once more. The plane through :math:`y` across
    the flow, :math:`f(y)\cdot(x - y) = 0`, is a section: where the trajectory first comes back through it within `tol`
    of its own diameter, the orbit is closed and the time until then its period. It must come back as near a second
    time, which a spiral into a fixed point does not.

    Parameters
    ----------
    field
        :math:`f`, called as ``field(t, y)``, autonomous.
    starts
        Shape (batch, state).
    horizon
        Time of the transient, and then again for the search: two periods at the least.
    tol
        Distance of a return from where it began, over the diameter of the orbit.
    rtol, atol
        Tolerances of the solves.

    Returns
    -------
    LimitCycles
        Possibly none. A start whose trajectory leaves or does not arrive belongs to none.

    Raises
    ------
    SolverError
        A horizon that is not positive, or starts that are not finite.

    Examples
    --------
    >>> import torch
    >>> from scnode import ode
    >>> def hopf(t, y):
    ...     turn = torch.stack([-y[:, 1], y[:, 0]], dim=1)
    ...     return y * (1 - y.square().sum(1, keepdim=True)) + 2 * turn
    >>> ode.limit_cycles(hopf, torch.tensor([[0.1, 0.0]]), 10.0).period.round(decimals=3)
    tensor([3.1420])

    References
    ----------
    :cite:p:`Strogatz2015`
    """
    if not (math.isfinite(horizon) and horizon > 0):
        raise SolverError(f"horizon={horizon} must be positive: the time in which an orbit closes at least twice.")
    if starts.ndim != 2 or not bool(torch.isfinite(starts).all()):
        raise SolverError(f"starts has shape {tuple(starts.shape)}; pass finite floats, (batch, state).")
    ts = torch.linspace(0, horizon, _TIMES + 1, dtype=starts.dtype, device=starts.device)
    if not len(starts):
        return LimitCycles(starts.new_zeros(0, _POINTS, starts.shape[1]), starts.new_zeros(0), torch.arange(0))
    options: dict[str, Any] = {"rtol": rtol, "atol": atol, "on_failure": "return"}
    with torch.no_grad():
        begin = solve(field, starts.detach(), ts[[0, -1]], **options).ys[:, -1]
        arrived = torch.isfinite(begin).all(1)
        paths = solve(field, torch.where(arrived[:, None], begin, starts), ts, **options).ys
        heading = field(ts[0], paths[:, 0])
    period = torch.full((len(starts),), math.nan, dtype=ts.dtype, device=ts.device)
    size = (paths - paths[:, :1]).norm(dim=2).amax(1)
    # A trajectory at rest returns everywhere: it must be wide beside the cloud of starts.
    wide = arrived & torch.isfinite(size) & (size > 10 * tol * _spread(starts))
    for row in torch.nonzero(wide).flatten().tolist():
        period[row] = _period(paths[row], heading[row], ts, tol * size[row])
    return _distinct(paths, period, ts, tol * size)


def _spread(starts: Tensor) -> Tensor:
    return (starts - starts.mean(0)).norm(dim=1).mean()


def _period(path: Tensor, heading: Tensor, ts: Tensor, near: Tensor) -> Tensor:
    """Time of the first return that a second one confirms, NaN if there is none."""
    side = (path - path[0]) @ heading
    before = torch.nonzero((side[:-1] < 0) & (side[1:] >= 0)).flatten()
    share = side[before] / (side[before] - side[before + 1])
    place = path[before] + share[:, None] * (path[before + 1] - path[before])
    times = ts[before] + share * (ts[before + 1] - ts[before])
    times = times[(place - path[0]).norm(dim=1) < near]
    if len(times) < _TURNS or not bool((times[1] / times[0] - _TURNS).abs() < 0.05):
        return times.new_tensor(math.nan)
    # The mean over all returns: each alone is off by the interpolation.
    count = int((times[-1] / times[0]).round())
    return times[-1] / count


def _distinct(paths: Tensor, period: Tensor, ts: Tensor, near: Tensor) -> LimitCycles:
    """One orbit for all starts that come to it."""
    which = torch.full((len(paths),), -1, device=paths.device)
    orbits: list[Tensor] = []
    periods: list[Tensor] = []
    for row in torch.nonzero(period.isfinite()).flatten().tolist():
        distance = [torch.cdist(paths[row, :1], orbit).amin() for orbit in orbits]
        gaps = [orbit.diff(dim=0).norm(dim=1).amax() for orbit in orbits]
        same = [k for k, (d, gap) in enumerate(zip(distance, gaps, strict=True)) if d < gap + 2 * near[row]]
        if not same:
            wanted = torch.linspace(0, 1, _POINTS, device=ts.device) * period[row]
            orbits.append(paths[row, torch.searchsorted(ts, wanted).clamp_max(len(ts) - 1)])
            periods.append(period[row])
        which[row] = same[0] if same else len(orbits) - 1
    if not orbits:
        return LimitCycles(paths.new_zeros(0, _POINTS, paths.shape[2]), paths.new_zeros(0), which)
    order = torch.bincount(which[which >= 0], minlength=len(orbits)).argsort(descending=True, stable=True)
    renamed = torch.where(which >= 0, order.argsort()[which.clamp_min(0)], which)
    return LimitCycles(torch.stack(orbits)[order], torch.stack(periods)[order], renamed)
