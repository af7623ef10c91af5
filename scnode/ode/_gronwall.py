"""How far a trajectory can be from that of a field known only up to an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scnode._errors import SolverError
from scnode.ode._measure import jacobians_along, log_norm, spectral_norm, with_jacobian
from scnode.ode._solve import solve

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField

_NUMBERS = 2**20


@dataclass(frozen=True)
class GronwallBound:
    r"""Bounds on :math:`\|z(t) - y(t)\|_2`, in units of the state.

    Parameters
    ----------
    ts
        Times asked for, shape (time,) or (batch, time).
    lipschitz
        Classical bound, by the largest spectral norm met so far; it never falls. Shape (batch, time).
    log_norm
        Sharper bound, by the logarithmic norm along the way; it falls where the flow contracts. Shape (batch, time).
        Infinite where it exceeds the range of the floats.
    """

    ts: Tensor
    lipschitz: Tensor
    log_norm: Tensor


def gronwall_bound(
    field: VectorField,
    y0: Tensor,
    ts: Tensor,
    *,
    defect: float | Tensor = 0.0,
    initial_error: float | Tensor = 0.0,
    n_between: int = 8,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    jacobian: VectorField | None = None,
) -> GronwallBound:
    r"""Bound the effect of an error in the field and in the start.

    Let :math:`\dot y = f(t, y)`, and let :math:`z` solve a field that differs from :math:`f` by at most
    :math:`\varepsilon`, with :math:`\|z(t_0) - y(t_0)\| \le e_0`. Then :math:`\|z - y\| \le e` with

    .. math:: \dot e = \mu(t)\, e + \varepsilon, \quad e(t_0) = e_0,

    where :math:`\mu(t)` bounds the logarithmic norm :math:`\mu_2(J)` between the two trajectories. Grönwall's classical
    bound has the Lipschitz constant :math:`L = \max \|J\|_2 \ge \mu` in its place:
    :math:`e = e_0 e^{L(t - t_0)} + \varepsilon\,(e^{L(t - t_0)} - 1) / L`.

    Both are integrated exactly for rates that are constant between the points of a grid, each the larger of its two
    ends.

    What is assumed: the Jacobian is taken on :math:`y` alone. For a field linear in the state the bounds are then
    strict, up to what the grid misses and the solver's own error; otherwise they hold to first order in :math:`e`, and
    say little once :math:`e` is as long as the way on which :math:`J` changes.

    Parameters
    ----------
    field
        :math:`f`, called as ``field(t, y)``.
    y0
        Initial states, shape (batch, state).
    ts
        Strictly monotone times, shape (time,) or (batch, time), forward or backward.
    defect
        :math:`\varepsilon`, in units of the state per time: one number, or one a trajectory, shape (batch,).
    initial_error
        :math:`e_0`, in units of the state: one number, or one a trajectory, shape (batch,).
    n_between
        Pieces into which the grid cuts each interval of `ts`.
    rtol, atol
        Tolerances of the trajectory.
    jacobian
        :math:`\partial f/\partial y`, called as ``jacobian(t, y)``; by default the field's own, else differentiation.

    Returns
    -------
    GronwallBound
        Two bounds at every time.

    Raises
    ------
    SolverError
        Errors that are negative, not finite or of the wrong shape, or a trajectory that could not be integrated.

    Examples
    --------
    >>> import torch
    >>> from scnode import ode
    >>> bound = ode.gronwall_bound(lambda t, y: -y, torch.ones(1, 1), torch.tensor([0.0, 1.0]), defect=0.1)
    >>> bound.lipschitz[0, 1].item(), bound.log_norm[0, 1].item()
    (0.1718..., 0.0632...)

    References
    ----------
    :cite:p:`HairerNorsettWanner1993`, :cite:p:`Soderlind2006`
    """
    if n_between < 1:
        raise SolverError(f"n_between={n_between}; pass at least 1.")
    eps, error = _error("defect", defect, y0), _error("initial_error", initial_error, y0)
    known = with_jacobian(field, jacobian)
    grid = _refined(ts, n_between)
    with torch.no_grad():
        ys = solve(known, y0.detach(), grid, rtol=rtol, atol=atol).ys
        size, rate = _rates(known, grid, ys, backward=bool((ts[..., -1] < ts[..., 0]).any()))
    steps = grid.diff(dim=-1).abs().to(torch.float64).expand(len(y0), -1)
    met = torch.maximum(size[:, :-1], size[:, 1:]).cummax(dim=1).values
    past = steps.cumsum(dim=1)
    classical = _grown(error, eps, met, past)
    path = [error]
    for step, before, after in zip(steps.unbind(1), rate[:, :-1].unbind(1), rate[:, 1:].unbind(1), strict=True):
        path.append(_grown(path[-1], eps, torch.maximum(before, after).unsqueeze(1), step.unsqueeze(1)))
    sharp = torch.cat(path, dim=1)[:, ::n_between]
    classical = torch.cat([error, classical], dim=1)[:, ::n_between]
    return GronwallBound(ts=ts, lipschitz=classical.to(y0.dtype), log_norm=sharp.to(y0.dtype))


def _error(name: str, given: float | Tensor, y0: Tensor) -> Tensor:
    """One error a trajectory, shape (batch, 1), in double precision."""
    value = torch.as_tensor(given, dtype=torch.float64, device=y0.device).detach()
    if value.shape not in {(), y0.shape[:1]} or not bool((torch.isfinite(value) & (value >= 0)).all()):
        raise SolverError(
            f"{name} has shape {tuple(value.shape)} for {len(y0)} trajectories; "
            "pass one finite number, not negative, or one for each trajectory, (batch,)."
        )
    return value.expand(len(y0)).unsqueeze(1)


def _refined(ts: Tensor, n_between: int) -> Tensor:
    """The times with `n_between` equal pieces in each interval; every `n_between`-th is one of `ts`."""
    part = torch.arange(n_between, dtype=ts.dtype, device=ts.device) / n_between
    inner = ts[..., :-1, None] + ts.diff(dim=-1).unsqueeze(-1) * part
    return torch.cat([inner.flatten(-2), ts[..., -1:]], dim=-1)


def _rates(field: VectorField, ts: Tensor, ys: Tensor, *, backward: bool) -> tuple[Tensor, Tensor]:
    """Spectral and logarithmic norm along every trajectory, shape (batch, time), in double precision."""
    rows = max(1, _NUMBERS // (ys.shape[1] * ys.shape[2] ** 2))
    sizes, rates = [], []
    for times, states in zip(ts.expand(ys.shape[:2]).split(rows), ys.split(rows), strict=True):
        matrices = jacobians_along(field, times, states).flatten(0, 1)
        sizes.append(spectral_norm(matrices).view(states.shape[:2]))
        rates.append(log_norm(-matrices if backward else matrices).view(states.shape[:2]))
    return torch.cat(sizes).to(torch.float64), torch.cat(rates).to(torch.float64)


def _grown(error: Tensor, eps: Tensor, rate: Tensor, time: Tensor) -> Tensor:
    r"""Solution of :math:`\dot e = \mu e + \varepsilon` for a constant rate."""
    # Clamped so that no product of 0 and infinity arises; e^700 is as good as infinite.
    turns = (rate * time).clamp(-700, 700)
    mean = torch.where(turns == 0, 1, torch.expm1(turns) / torch.where(turns == 0, 1, turns))
    return error * turns.exp() + eps * time * mean
