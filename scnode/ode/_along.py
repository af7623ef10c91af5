"""Measures of the flow along trajectories that are already there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scnode._errors import SolverError
from scnode.ode._gronwall import _grown
from scnode.ode._measure import jacobians_along, log_norm, spectral_norm, with_jacobian

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField

_NUMBERS = 2**20


@dataclass(frozen=True)
class PathMeasures:
    r"""What the Jacobians along a trajectory say, each of shape (batch, time).

    Parameters
    ----------
    spectral_norm
        :math:`\|J\|_2` at every state, in 1/time.
    log_norm
        :math:`\mu_2(J)` at every state, in 1/time.
    ftle
        Finite-time Lyapunov exponent from the first time to every other; at the first its limit, :math:`\mu_2(J)`.
    bound
        Bound on the distance to the trajectory of the true field, in units of the state.
    """

    spectral_norm: Tensor
    log_norm: Tensor
    ftle: Tensor
    bound: Tensor


def measure_along(
    field: VectorField,
    ts: Tensor,
    ys: Tensor,
    *,
    defect: float | Tensor = 0.0,
    initial_error: float | Tensor = 0.0,
    jacobian: VectorField | None = None,
    directions: Tensor | None = None,
) -> PathMeasures:
    r"""Stretching and error growth along trajectories, from the Jacobians at their stored states alone.

    Nothing is integrated anew, so that thousands of trajectories with many times cost one Jacobian a state. The
    tangents follow the second order Magnus product :math:`M_{k+1} = \exp\bigl(h (J_k + J_{k+1})/2\bigr) M_k`, with
    :math:`\Lambda = \frac{1}{t_k - t_0} \ln \sigma_{\max}(M_k)`, and the error bound obeys
    :math:`\dot e = \mu_2(J)\,e + \varepsilon` with the larger rate and the larger :math:`\varepsilon` of the two ends
    of each step. :func:`ftle` and :func:`gronwall_bound` solve the same equations to a tolerance.

    Parameters
    ----------
    field
        :math:`f`, called as ``field(t, y)``.
    ts
        Increasing times, shape (time,) or (batch, time).
    ys
        States of the trajectories at these times, shape (batch, time, state).
    defect
        :math:`\varepsilon`, in units of the state per time: one number, or one a state, shape (batch, time).
    initial_error
        Error of the start in units of the state: one number, or one a trajectory, shape (batch,).
    jacobian
        :math:`\partial f/\partial y`, called as ``jacobian(t, y)``; by default the field's own, else differentiation.
    directions
        Orthonormal columns Q, shape (state, n), that errors and tangents are confined to: the measures are then those
        of :math:`Q^\top J Q`. In hundreds of dimensions a few say the most, at a fraction of the cost. By default all.

    Returns
    -------
    PathMeasures
        Four measures at every time.

    Raises
    ------
    SolverError
        States and times of different numbers, times that do not increase, errors of another shape, or directions that
        are not orthonormal.

    Examples
    --------
    >>> import torch
    >>> from scnode import ode
    >>> ts = torch.linspace(0, 1, 5)
    >>> ode.measure_along(lambda t, y: -y, ts, torch.exp(-ts)[None, :, None], defect=0.1).bound[0, -1].item()
    0.0632...

    References
    ----------
    :cite:p:`Shadden2005`, :cite:p:`Soderlind2006`
    """
    if ys.ndim != 3 or ts.shape[-1:] != ys.shape[1:2] or not bool((ts.diff(dim=-1) > 0).all()):
        raise SolverError(
            f"ts has shape {tuple(ts.shape)} for states of shape {tuple(ys.shape)}; pass increasing times (time,) or "
            "(batch, time) and states (batch, time, state)."
        )
    times = ts.expand(ys.shape[:2])
    eps = _expanded("defect", defect, times)
    start = _expanded("initial_error", initial_error, times[:, 0])
    known, axes = with_jacobian(field, jacobian), _orthonormal(directions, ys)
    rows = max(1, _NUMBERS // (ys.shape[1] * ys.shape[2] ** 2))
    with torch.no_grad():
        cells = zip(*(x.split(rows) for x in (times, ys, eps, start)), strict=True)
        parts = [_measure(known, *part, axes=axes) for part in cells]
    return PathMeasures(*(torch.cat(part).to(ys.dtype) for part in zip(*parts, strict=True)))


def _expanded(name: str, given: float | Tensor, like: Tensor) -> Tensor:
    value = torch.as_tensor(given, dtype=torch.float64, device=like.device)
    if value.shape not in {(), like.shape} or not bool((torch.isfinite(value) & (value >= 0)).all()):
        raise SolverError(
            f"{name} has shape {tuple(value.shape)}; pass one finite number, not negative, or one each, "
            f"{tuple(like.shape)}."
        )
    return value.expand(like.shape)


def _orthonormal(directions: Tensor | None, ys: Tensor) -> Tensor | None:
    if directions is None:
        return None
    axes = directions.to(ys)
    shape = tuple(axes.shape)
    if axes.ndim != 2 or len(axes) != ys.shape[2] or not 1 <= axes.shape[1] <= len(axes):
        raise SolverError(f"directions has shape {shape} for states of {ys.shape[2]} numbers; pass (state, n).")
    same = torch.eye(shape[1], dtype=axes.dtype, device=axes.device)
    if not torch.allclose(axes.mT @ axes, same, atol=1e-3):
        raise SolverError("directions are not orthonormal. Pass torch.linalg.qr(directions).Q.")
    return axes


def _measure(
    field: VectorField, ts: Tensor, ys: Tensor, defect: Tensor, initial_error: Tensor, *, axes: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    matrices = jacobians_along(field, ts, ys)
    matrices = matrices if axes is None else axes.mT @ matrices @ axes
    flat = matrices.flatten(0, 1)
    size, rate = spectral_norm(flat).view(ys.shape[:2]), log_norm(flat).view(ys.shape[:2]).to(torch.float64)
    steps = ts.diff(dim=1).to(torch.float64)
    worse = torch.maximum(rate[:, :-1], rate[:, 1:])
    more = torch.maximum(defect[:, :-1], defect[:, 1:])
    bound = [initial_error]
    for k in range(steps.shape[1]):
        bound.append(_grown(bound[-1], more[:, k], worse[:, k], steps[:, k]))
    return size, rate, _exponents(matrices, rate, steps), torch.stack(bound, dim=1)


def _exponents(matrices: Tensor, rate: Tensor, steps: Tensor) -> Tensor:
    """Largest exponents from the first time to every other, shape (batch, time)."""
    middle = (matrices[:, :-1] + matrices[:, 1:]) / 2
    # Nothing grows faster than the logarithmic norm: taken out, no step and no horizon overflows.
    most = log_norm(middle.flatten(0, 1)).view(steps.shape)
    same = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    turns = torch.matrix_exp((middle - most[..., None, None] * same) * steps[..., None, None].to(middle.dtype))
    grown = most.to(torch.float64) * steps
    tangent, scale, exponents = same.expand_as(matrices[:, 0]), torch.zeros_like(rate[:, 0]), [rate[:, 0]]
    for turn, growth, past in zip(turns.unbind(1), grown.unbind(1), steps.cumsum(dim=1).unbind(1), strict=True):
        tangent = turn @ tangent
        size = spectral_norm(tangent)
        tangent, scale = tangent / size[:, None, None], scale + growth + size.to(torch.float64).log()
        exponents.append(scale / past)
    return torch.stack(exponents, dim=1)
