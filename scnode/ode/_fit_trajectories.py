"""Fit the parameters of any field to observed trajectories, with exact gradients of the solve."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from scnode._errors import SolverError
from scnode.ode._gauss_newton import gauss_newton
from scnode.ode._observed import Observed
from scnode.ode._solve import solve

if TYPE_CHECKING:
    from torch import Tensor

_FEW = 256
"""Parameters up to which their sensitivities are cheap enough."""

_HISTORY = 50


@dataclass(frozen=True)
class TrajectoryFit:
    """How a fit of trajectories went.

    Parameters
    ----------
    loss
        Mean squared deviation, each state in units of its variance over all trajectories and times.
    method
        What was used, ``"gauss_newton"`` or ``"lbfgs"``.
    n_steps, n_solves
        Steps taken, and solves with their derivatives.
    y0
        Where the fitted trajectories start, shape (batch, state).
    """

    loss: float
    method: str
    n_steps: int
    n_solves: int
    y0: Tensor


def fit_trajectories(
    field: torch.nn.Module,
    ts: Tensor,
    ys: Tensor,
    *,
    method: Literal["auto", "gauss_newton", "lbfgs"] = "auto",
    free_start: bool = False,
    max_iterations: int = 100,
    tolerance: float = 1e-6,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    **options: Any,
) -> TrajectoryFit:
    r"""Minimise the distance of solved from observed trajectories over the parameters of a field.

    .. math:: \min_\theta \frac{1}{n}\sum_{i,k,j} \big(y_j(t_k; y_{i0}, \theta) - y_{ikj}\big)^2 / \sigma_j^2

    with :math:`\sigma_j` the standard deviation of state j over all trajectories and times. Both methods go downhill
    from where the field is: trajectories of several turns need a field that is near already, such as one by
    :meth:`scnode.nn.PolynomialField.regress`. The least loss met is kept.

    Parameters
    ----------
    field
        Module called as ``field(t, y)``, whose parameters are changed in place.
    ts
        Times, as in :func:`solve`; the first is that of the starts.
    ys
        Observed states, shape (batch, time, state), of the field's dtype.
    method
        ``"gauss_newton"``, damped after Levenberg and Marquardt, by forward sensitivities: few solves, each with work
        for every parameter. ``"lbfgs"``, quasi-Newton with a strong Wolfe line search, by the reverse gradient of the
        solve. ``"auto"`` takes the first up to 256 parameters.
    free_start
        Fit the starts as well, from the first states on: these are as noisy as all others.
    max_iterations
        Most steps.
    tolerance
        Stop when a step lowers the loss by less than this share (``"gauss_newton"``), or this much (``"lbfgs"``).
    rtol, atol
        Tolerances of the solve, which bound how exact the parameters can be.
    **options
        Passed to :func:`solve`; `gradient` is for ``"lbfgs"``, and torchdiffeq's solvers as well.

    Returns
    -------
    TrajectoryFit
        Loss, counts and starts.

    Raises
    ------
    SolverError
        No parameters, observations that are not finite or do not fit `ts`, an unknown method, or a field that cannot be
        solved where the fit starts or ends.

    Examples
    --------
    >>> import torch
    >>> from scnode import nn, ode
    >>> field, ts = nn.PolynomialField(1, degree=1).double(), torch.linspace(0, 2, 21).double()
    >>> fit = ode.fit_trajectories(field, ts, (-ts).exp()[None, :, None])
    >>> print(*field.equations(["x"]))
    dx/dt = -x

    References
    ----------
    :cite:p:`NocedalWright2006`
    """
    n_parameters = sum(p.numel() for p in field.parameters() if p.requires_grad)
    if not n_parameters:
        raise SolverError("The field has no parameters that require gradients: there is nothing to fit.")
    if method not in ("auto", "gauss_newton", "lbfgs"):
        raise SolverError(f"method={method!r} is unknown. Pass one of ['auto', 'gauss_newton', 'lbfgs'].")
    if method == "auto":
        by_reverse = "gradient" in options or str(options.get("solver", "auto")).startswith("torchdiffeq:")
        method = "lbfgs" if by_reverse or n_parameters > _FEW else "gauss_newton"
    observed, options = Observed.of(ts, ys), {"rtol": rtol, "atol": atol, **options}
    minimise = gauss_newton if method == "gauss_newton" else _lbfgs
    y0, n_steps, n_solves = minimise(
        field, observed, free_start=free_start, max_iterations=max_iterations, tolerance=tolerance, options=options
    )
    with torch.no_grad():
        loss = observed.residual(solve(field, y0, ts, **options).ys).square().mean()
    return TrajectoryFit(float(loss), method, n_steps, n_solves, y0)


def _lbfgs(
    field: torch.nn.Module,
    observed: Observed,
    *,
    free_start: bool,
    max_iterations: int,
    tolerance: float,
    options: dict[str, Any],
) -> tuple[Tensor, int, int]:
    """Fit in place; returns the starts, and how many steps and solves it took."""
    y0 = observed.ys[:, 0].clone().requires_grad_(free_start)
    given = [p for p in (*field.parameters(), y0) if p.requires_grad]
    optimizer = torch.optim.LBFGS(
        given,
        max_iter=max_iterations,
        history_size=_HISTORY,
        tolerance_grad=0.0,
        tolerance_change=tolerance,
        line_search_fn="strong_wolfe",
    )
    best: tuple[float, Any, Tensor] | None = None

    def closure() -> Tensor:
        nonlocal best
        optimizer.zero_grad()
        # A trial step may be too long for a trajectory to arrive: where it stays is bad enough. Where all stay at their
        # starts, no parameter matters.
        found = solve(field, y0, observed.ts, **options | {"on_failure": "return"}).ys
        loss = observed.residual(found).square().mean()
        if loss.requires_grad:
            loss.backward()
        if best is None or loss.item() < best[0]:
            best = loss.item(), copy.deepcopy(field.state_dict()), y0.detach().clone()
        return loss

    optimizer.step(closure)
    optimizer.zero_grad(set_to_none=True)
    assert best is not None  # the start has been seen
    field.load_state_dict(best[1])
    state = optimizer.state[given[0]]
    return best[2], state["n_iter"], state["func_evals"]
