"""Where a vector field stands still, and what it is like there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scnode._errors import SolverError
from scnode.ode._measure import eigenvalues, with_jacobian
from scnode.ode._measure import jacobian as jacobian_of
from scnode.ode._root import Scaled, search

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField


@dataclass(frozen=True)
class FixedPoints:
    r"""States :math:`y^*` with :math:`f(t, y^*) = 0`, the most often reached first; n is their number.

    Parameters
    ----------
    position
        :math:`y^*`, shape (n, state).
    eigenvalues
        Of the Jacobian there, by falling real part, complex, in 1/time, shape (n, state). Conserved directions are
        among them, as zeros.
    kind
        One of ``"stable node"``, ``"stable focus"``, ``"unstable node"``, ``"unstable focus"``, ``"saddle"``,
        ``"centre"`` and ``"degenerate"`` for each.
    residual
        :math:`\|f(t, y^*)\|_2`, shape (n,).
    n_starts
        How many starts came to each, shape (n,). This is no basin of attraction: Newton's method finds saddles too.
    n_failed
        How many starts came to none.
    """

    position: Tensor
    eigenvalues: Tensor
    kind: tuple[str, ...]
    residual: Tensor
    n_starts: Tensor
    n_failed: int


def fixed_points(
    field: VectorField,
    starts: Tensor,
    *,
    t: float = 0.0,
    tol: float | None = None,
    max_iterations: int = 100,
    jacobian: VectorField | None = None,
) -> FixedPoints:
    r"""Fixed points by Newton's method from many starts at once.

    Each start takes Levenberg-Marquardt steps :math:`-(J^T J + \lambda I)^{-1} J^T f`, with :math:`\lambda` falling
    with the residual and after every step that shrinks it, raised after one that does not. Near a fixed point they
    are Newton steps; where :math:`J` is singular they are the shortest ones. This finds saddles as well as attractors.
    Starts that do not arrive (the residual has other minima) go back and follow the flow, by pseudo-transient
    continuation: implicit Euler steps :math:`(I/\delta - J)^{-1} f`, with :math:`\delta` growing as the residual falls.

    What the field conserves (:math:`w^T J = 0` at all starts) is kept: each start looks for the fixed point with its
    own totals, and there is one for each.

    States are measured in units of the root mean square of each component over the starts. A start has come to its end
    when the Newton step and the residual, divided by :math:`\|J\|`, are below `tol` of the state; two ends are the
    same fixed point when they are within 100 `tol`.

    The kind is read from the eigenvalues without those of conserved directions. All real parts of one sign: a node or,
    if the eigenvalue of the largest real part is complex, a focus. Both signs: a saddle. A real part closer to zero
    than 10 `tol` of the largest eigenvalue, where the linearisation decides nothing: a centre if it belongs to an
    oscillation and nothing grows, else degenerate.

    Parameters
    ----------
    field
        :math:`f`, called as ``field(t, y)``.
    starts
        Where to start, shape (batch, state), for instance observed states.
    t
        Time at which a time-dependent field is frozen.
    tol
        Relative tolerance; by default the power 2/3 of the machine precision, 2e-5 for floats and 4e-11 for doubles.
    max_iterations
        Steps granted to a start, in each of the two ways.
    jacobian
        :math:`\partial f/\partial y`, called as ``jacobian(t, y)``; by default the field's own, else differentiation.

    Returns
    -------
    FixedPoints
        Possibly none: then every tensor is empty and `n_failed` is the number of starts.

    Raises
    ------
    SolverError
        Starts that are not finite or of the wrong shape.

    Examples
    --------
    >>> import torch
    >>> from scnode import ode
    >>> found = ode.fixed_points(lambda t, y: y - y**3, torch.tensor([[-2.0], [0.1], [3.0]]))
    >>> sorted(zip(found.position.flatten().round(decimals=3).tolist(), found.kind))
    [(-1.0, 'stable node'), (0.0, 'unstable node'), (1.0, 'stable node')]

    References
    ----------
    :cite:p:`Fan2005`, :cite:p:`Kelley1998`
    """
    if starts.ndim != 2 or not starts.is_floating_point() or not bool(torch.isfinite(starts).all()):
        raise SolverError(
            f"starts has shape {tuple(starts.shape)} and dtype {starts.dtype}; pass finite floats, (batch, state)."
        )
    tol = torch.finfo(starts.dtype).eps ** (2 / 3) if tol is None else tol
    with torch.no_grad():
        problem = Scaled(with_jacobian(field, jacobian), starts.detach(), t)
        ends, arrived = search(problem, tol, max_iterations)
        return _summary(problem, ends[arrived], len(starts) - int(arrived.sum()), tol)


def _summary(problem: Scaled, ends: Tensor, n_failed: int, tol: float) -> FixedPoints:
    chosen, hits = _distinct(ends, problem.value(ends).norm(dim=1), 100 * tol)
    z = ends[chosen]
    position = (z * problem.unit).to(problem.dtype)
    time = torch.as_tensor(problem.t, dtype=problem.dtype, device=z.device)
    return FixedPoints(
        position=position,
        eigenvalues=eigenvalues(jacobian_of(problem.field, position, t=problem.t)),
        kind=tuple(_kind(values, 10 * tol) for values in eigenvalues(problem.matrix(z))),
        residual=problem.field(time, position).norm(dim=1),
        n_starts=hits,
        n_failed=n_failed,
    )


def _distinct(ends: Tensor, residual: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """One index for each cluster, that of the smallest residual, and the sizes of the clusters, largest first."""
    left = residual.argsort()
    chosen, hits = [], []
    while len(left):
        best = ends[left[0]]
        near = (ends[left] - best).abs().amax(dim=1) <= radius * (1 + best.abs().max())
        chosen.append(int(left[0]))
        hits.append(int(near.sum()))
        left = left[~near]
    sizes = torch.tensor(hits, dtype=torch.int64, device=ends.device)
    order = sizes.argsort(descending=True, stable=True)
    return torch.tensor(chosen, dtype=torch.int64, device=ends.device)[order], sizes[order]


def _kind(values: Tensor, tolerance: float) -> str:
    """What the linearised flow does, from eigenvalues in falling order of their real parts."""
    if not len(values):
        return "degenerate"
    floor = tolerance * values.abs().max()
    neutral, growing = values.real.abs() <= floor, values.real > floor
    if bool(neutral.any()):
        oscillates = bool((values.imag[neutral].abs() > floor).all()) and not bool(growing.any())
        return "centre" if oscillates else "degenerate"
    if bool(growing.any()) and not bool(growing.all()):
        return "saddle"
    shape = "focus" if bool(values[0].imag.abs() > floor) else "node"
    return f"{'unstable' if bool(growing.all()) else 'stable'} {shape}"
