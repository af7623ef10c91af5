"""How far apart the time scales of a field lie along its trajectories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scnode._errors import SolverError
from scnode.ode._measure import jacobians_along, with_jacobian
from scnode.ode._pilot import StiffnessReport, stiffness_along
from scnode.ode._solve import solve

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField

_ROWS = 256


def stiffness_ratio(
    field: VectorField,
    y0: Tensor,
    ts: Tensor,
    *,
    n_points: int = 8,
    rtol: float = 1e-3,
    atol: float = 1e-6,
    jacobian: VectorField | None = None,
    min_ratio: float = 100.0,
    min_decay: float = 500.0,
) -> StiffnessReport:
    r"""Stiffness by the eigenvalues of the Jacobian along a pilot trajectory.

    The ratio :math:`\max|\mathrm{Re}\lambda| / \min|\mathrm{Re}\lambda|` would be infinite wherever something is
    conserved: :math:`w^T f = \mathrm{const}` gives an eigenvalue 0. The common left null space of the Jacobians of a
    trajectory is therefore found first, and the eigenvalues are those on its orthogonal complement, where
    :math:`P^T J P` has all the others. A rate among these that is below rounding counts as that large; oscillations
    without growth or decay have no rate.

    The verdict follows the cost. Stability binds an explicit method of order 5 to :math:`h\rho \le 3.3`, so decay at
    rate :math:`\rho` costs :math:`\rho T / 3.3` steps where accuracy may ask for a few dozen. A trajectory is called
    stiff if at some point decay :math:`\times T` exceeds `min_decay` (about 150 steps) and the ratio exceeds
    `min_ratio`. The ratio knows nothing of how fast the field itself changes with time: for a strongly driven field
    pass ``min_ratio=0``, which leaves the cost alone to decide.

    Parameters
    ----------
    field
        :math:`f`, called as ``field(t, y)``.
    y0
        Initial states, shape (batch, state). A sample of some 256 cells tells what a model is like.
    ts
        Times, shape (time,) or (batch, time); only the first and the last count.
    n_points
        Equally spaced points of each trajectory at which eigenvalues are taken, both ends included.
    rtol, atol
        Tolerances of the pilot trajectory.
    jacobian
        :math:`\partial f/\partial y`, called as ``jacobian(t, y)``; by default the field's own, else differentiation.
    min_ratio, min_decay
        Thresholds of the verdict.

    Returns
    -------
    StiffnessReport
        One number a trajectory.

    Raises
    ------
    SolverError
        Fewer than two points, or a field or Jacobian that is not finite. A pilot that does not arrive is measured as
        far as it came.

    Examples
    --------
    >>> import torch
    >>> from scnode import ode
    >>> rates = torch.tensor([-1.0, -1000.0])
    >>> ode.stiffness_ratio(lambda t, y: rates * y, torch.ones(1, 2), torch.tensor([0.0, 1.0])).ratio
    tensor([1000.])

    References
    ----------
    :cite:p:`HairerWanner1996`
    """
    if n_points < 2:
        raise SolverError(f"n_points={n_points}; pass at least 2, the two ends of the interval.")
    times = ts[..., :1] + (ts[..., -1:] - ts[..., :1]) * torch.linspace(
        0, 1, n_points, dtype=ts.dtype, device=ts.device
    )
    known = with_jacobian(field, jacobian)
    with torch.no_grad():
        ys = solve(known, y0.detach(), times, rtol=rtol, atol=atol, on_failure="return").ys
        backward = bool((ts[..., -1] < ts[..., 0]).any())
        spans = times.expand(ys.shape[:2])
        pairs = zip(spans.split(_ROWS), ys.split(_ROWS), strict=True)
        parts = [jacobians_along(known, t, y) for t, y in pairs]
    # Backward in time, growth is what an explicit method has to damp.
    matrices = -torch.cat(parts) if backward else torch.cat(parts)
    return stiffness_along(matrices, (spans[:, -1] - spans[:, 0]).abs(), min_ratio=min_ratio, min_decay=min_decay)
