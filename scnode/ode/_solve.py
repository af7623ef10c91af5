"""The one door to integration."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch

from scnode._errors import SolverError
from scnode._rows import at_rows
from scnode.ode import _torchdiffeq
from scnode.ode._clock import Clock
from scnode.ode._control import Control
from scnode.ode._explicit import EXPLICIT
from scnode.ode._gradient import GRADIENTS, Problem
from scnode.ode._pilot import pilot
from scnode.ode._plan import Plan
from scnode.ode._probe import probe
from scnode.ode._radau5 import Radau5
from scnode.ode._rodas5p import Rodas5P
from scnode.ode._solution import Solution, Stats
from scnode.ode._system import FieldSystem, WithCost

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from scnode._typing import VectorField
    from scnode.ode._pilot import StiffnessReport
    from scnode.ode._probe import Facts
    from scnode.ode._step import Method

__all__ = ["GRADIENTS", "SOLVERS", "solve"]

_IMPLICIT = ("rodas5p", "radau5")
_ALIASES = {"radau": "radau5"}

OWN = ("auto", *EXPLICIT, *_IMPLICIT)
SOLVERS = (*OWN, *(f"torchdiffeq:{name}" for name in (*_torchdiffeq.ADAPTIVE, *_torchdiffeq.FIXED)))
"""Names of solvers."""

_FEW = 16
"""States up to which a Jacobian by reverse sweeps is cheap enough for a pilot trajectory."""

_KEPT_BYTES = 1 << 30
"""Above this much memory ``gradient="auto"`` changes from keeping every operation to checkpoints."""


def solve(
    field: VectorField,
    y0: Tensor,
    ts: Tensor,
    *,
    solver: str = "auto",
    gradient: str = "auto",
    rtol: float = 1e-4,
    atol: float = 1e-6,
    jacobian: Callable[[Tensor, Tensor], Tensor] | None = None,
    checkpoints: int | None = None,
    running_cost: Callable[[Tensor, Tensor], Tensor] | None = None,
    control: Literal["per_cell", "shared"] = "per_cell",
    step: float | None = None,
    on_failure: Literal["raise", "return"] = "raise",
) -> Solution:
    r"""Integrate :math:`\dot y = f(t, y)` from :math:`y(t_0) = y_0`.

    Parameters
    ----------
    field
        :math:`f`, called as ``field(t, y)``: `y` holds some of the trajectories, shape (row, state), and `t` their
        times, shape (row, 1); with fixed steps, or ``control="shared"``, and one list of times, `t` is a scalar.
        Returns the shape of `y`. A method ``field.jacobian(t, y)`` is used by implicit solvers. A field that differs
        between the rows of `y0` gives each steps of its own where a method ``field.at_rows(rows)`` returns that of
        some rows, numbers (row,), alone; without it they share their steps.
    y0
        Initial states, shape (batch, state).
    ts
        Strictly monotone times, shape (time,) or (batch, time), forward or backward; the first is that of `y0`.
        If all are equal the start is returned.
    solver
        ``"auto"`` measures stiffness on a short pilot trajectory of up to eight cells (where the Jacobian is in
        closed form, or the states are few) and returns what it saw as `stiffness`. It starts with tsit5, or with
        rodas5p if most of these cells are stiff, and then hands each trajectory over while it is, and back.
        Explicit: ``"euler"``, ``"midpoint"``, ``"ralston"``, ``"rk4"`` (fixed steps), ``"dopri5"``, ``"tsit5"``.
        Implicit: ``"rodas5p"``, ``"radau5"``. Those of torchdiffeq are ``"torchdiffeq:dopri8"`` and so on; they know
        neither `control` nor `on_failure`, and their error is the root mean square over the batch.
    gradient
        ``"backprop"`` keeps every operation and gives derivatives of any order. ``"checkpointed"`` gives the same
        gradient and keeps few states only. ``"adjoint"`` integrates the adjoint equation along the stored solution,
        with its jumps at `ts`; it is exact only as far as the tolerance. ``"forward"`` carries sensitivities along,
        for few parameters. ``"auto"`` is ``"backprop"`` while that takes less than 1 GiB, else ``"checkpointed"``.
    rtol, atol
        Relative and absolute tolerance of one step.
    jacobian
        :math:`\partial f / \partial y`, called like `field`, shape (row, state, state). By default the field's own
        method, else reverse sweeps.
    checkpoints
        How many states ``gradient="checkpointed"`` keeps; by default as many as give the least memory.
    running_cost
        :math:`r(t, y)`, shape (row,); :math:`\int_{t_0}^{t} r\,ds` is integrated along and returned as `cost`.
    control
        ``"per_cell"``: every trajectory has its own steps and leaves the batch when it has arrived, so that easy ones
        neither hide nor pay for a hard one. ``"shared"``: all take the same steps, and the worst decides. A field
        that tells rows apart (it holds one input per trajectory, or couples them) always gets shared steps.
    step
        Largest step of the fixed-step methods; by default they step from one time to the next.
    on_failure
        ``"raise"``, or ``"return"`` everything beside a status: trajectories that did not arrive keep their last
        state at all later times.

    Returns
    -------
    Solution
        Times, states (batch, time, state), counts and one status per trajectory.

    Raises
    ------
    SolverError
        Wrong shapes, non-monotone or non-finite times, a start or a field that is not finite, an unknown name, a
        field that cannot be differentiated where that is needed, or a trajectory that did not arrive.

    Examples
    --------
    >>> import torch
    >>> from scnode import ode
    >>> ode.solve(lambda t, y: -y, torch.ones(1, 1), torch.tensor([0.0, 1.0])).ys[0, -1].item()
    0.3678...

    References
    ----------
    :cite:p:`Tsitouras2011`, :cite:p:`Steinebach2023`, :cite:p:`HairerWanner1996`, :cite:p:`Chen2018`
    """
    check_problem(y0, ts)
    _check_tolerances(rtol=rtol, atol=atol)
    ts = ts.to(y0.device)
    names = {"solver": solver, "gradient": gradient, "control": control, "on_failure": on_failure}
    _check_names(names, checkpoints=checkpoints, step=step)
    if running_cost is not None:
        field, jacobian = WithCost(field, running_cost, jacobian), None
        y0 = torch.cat([y0, y0.new_zeros(len(y0), 1)], dim=1)
    options = _Options(
        solver, gradient, _floor(rtol, y0.dtype), atol, jacobian, checkpoints, control == "shared", step, on_failure
    )
    still = (ts[..., -1] == ts[..., 0]).expand(len(y0))
    moving = _integrate if not bool(still.any()) else partial(_partly_still, still=still)
    solution = moving(field, y0, ts, options)
    if running_cost is None:
        return solution
    return replace(solution, ys=solution.ys[..., :-1], cost=solution.ys[..., -1])


@dataclass(frozen=True)
class _Options:
    """The options of :func:`solve`, checked."""

    solver: str
    gradient: str
    rtol: float
    atol: float
    jacobian: Callable[[Tensor, Tensor], Tensor] | None
    checkpoints: int | None
    shared: bool
    step: float | None
    on_failure: str


def _integrate(field: VectorField, y0: Tensor, ts: Tensor, options: _Options) -> Solution:
    """Solve where every interval has a length."""
    name = _ALIASES.get(options.solver, options.solver)
    if name not in OWN:
        return _by_torchdiffeq(field, y0, ts, options)
    sign = 1 if bool(ts.detach().reshape(-1, ts.shape[-1])[0, [0, -1]].diff() > 0) else -1
    methods = _methods(name, options.rtol, options.atol)
    same_time = ts.ndim == 1 and (options.shared or not methods[0].adaptive)
    first, last = (t.detach().to(y0.dtype) if same_time else _column(t.detach(), y0) for t in (ts[..., 0], ts[..., -1]))
    facts = probe(field, first, last, y0)
    if not facts.alone and not options.shared and methods[0].adaptive:
        return _integrate(field, y0, ts, replace(options, shared=True))
    system = FieldSystem(field, sign=sign, closed=options.jacobian, scalar_time=same_time, autonomous=facts.autonomous)
    plan = Plan(methods, Control(options.rtol, options.atol, shared=options.shared), options.step)
    report = None
    if name == "auto":
        plan, report = _measured(plan, system, facts, y0, Clock.of(ts.detach(), sign))
    problem = Problem(system, plan, options.checkpoints, facts.row_bytes * len(y0) * 8)
    ys = _differentiably(problem, facts, y0, ts, options.gradient)
    assert problem.run is not None  # every way of differentiating integrates
    if options.on_failure == "raise":
        problem.run.raise_for_status(sign)
    stats = replace(problem.run.stats, n_calls=system.n_calls)
    return Solution(ts, ys, stats, problem.run.status, sensitivity=problem.sensitivity, stiffness=report)


def _measured(
    plan: Plan, system: FieldSystem, facts: Facts, y0: Tensor, clock: Clock
) -> tuple[Plan, StiffnessReport | None]:
    """The plan of ``solver="auto"``, which begins with what suits a few pilot trajectories."""
    if not (facts.differentiable or system.closed_form):
        return replace(plan, methods=plan.methods[:1]), None  # without a Jacobian there is no implicit step
    if not facts.alone or not (system.closed_form or y0.shape[1] <= _FEW):
        return plan, None
    report = pilot(system, y0, clock)
    return replace(plan, start=int(bool(report.stiff.float().mean() > 0.5))), report


def _methods(name: str, rtol: float, atol: float) -> tuple[Method, ...]:
    if name == "auto":
        return EXPLICIT["tsit5"], Rodas5P()
    return (EXPLICIT[name] if name in EXPLICIT else Rodas5P() if name == "rodas5p" else Radau5(rtol, atol),)


def _differentiably(problem: Problem, facts: Facts, y0: Tensor, ts: Tensor, gradient: str) -> Tensor:
    """Solve in the way asked for, or without any record where nothing needs a gradient."""
    times = ts.to(torch.float64) * problem.system.sign
    wanted = torch.is_grad_enabled() and (y0.requires_grad or ts.requires_grad or bool(facts.leaves))
    if not wanted and gradient != "forward":
        with torch.no_grad():
            return GRADIENTS["backprop"](problem, y0, times, facts.leaves)
    if not facts.differentiable:
        raise SolverError(
            "A gradient is asked for, but the field's velocity changes with the state without carrying a gradient. "
            "Write it in torch operations without .detach() or numpy, or call solve under torch.no_grad()."
        )
    if gradient == "auto":
        kept = facts.row_bytes * len(y0) * problem.plan.evaluations(times.detach())
        gradient = "backprop" if kept <= _KEPT_BYTES else "checkpointed"
    return GRADIENTS[gradient](problem, y0, times, facts.leaves)


def _by_torchdiffeq(field: VectorField, y0: Tensor, ts: Tensor, options: _Options) -> Solution:
    method = options.solver.removeprefix("torchdiffeq:")
    gradient = "backprop" if options.gradient == "auto" else options.gradient
    ys, stats = _torchdiffeq.integrate(
        field, y0, ts, method=method, gradient=gradient, rtol=options.rtol, atol=options.atol
    )
    return Solution(ts, ys, stats, torch.zeros(len(ys), dtype=torch.long, device=ys.device))


def _partly_still(field: VectorField, y0: Tensor, ts: Tensor, options: _Options, *, still: Tensor) -> Solution:
    """Trajectories whose interval has no length stay where they start."""
    ys = y0.unsqueeze(1).expand(-1, ts.shape[-1], -1)
    nothing = torch.zeros(len(y0), dtype=torch.long, device=y0.device)
    stats = Stats(nothing, nothing, nothing, nothing, nothing, nothing, n_calls=0)
    if bool(still.all()):
        return Solution(ts, ys, stats, nothing)
    moving = torch.nonzero(~still).flatten()
    options = replace(options, jacobian=None if options.jacobian is None else at_rows(options.jacobian, moving))
    part = _integrate(at_rows(field, moving), y0[moving], ts[moving], options)
    counts = {k: nothing.index_put((moving,), v) for k, v in vars(part.stats).items() if k != "n_calls"}
    return Solution(
        ts,
        ys.index_put((moving,), part.ys),
        Stats(**counts, n_calls=part.stats.n_calls),
        nothing.index_put((moving,), part.status),
    )


def _column(t: Tensor, y: Tensor) -> Tensor:
    return t.to(y.dtype).expand(len(y)).unsqueeze(1)


def _floor(rtol: float, dtype: torch.dtype) -> float:
    least = 4 * torch.finfo(dtype).eps
    if rtol >= least:
        return rtol
    warnings.warn(
        f"rtol={rtol:g} is below what {dtype} resolves, so {least:.1e} is used. Pass y0 and field as torch.float64.",
        stacklevel=3,
    )
    return least


def _check_names(names: dict[str, str], *, checkpoints: int | None, step: float | None) -> None:
    tables = {
        "solver": (*SOLVERS, *_ALIASES, *_torchdiffeq.ADAPTIVE, *_torchdiffeq.FIXED),
        "gradient": ("auto", *GRADIENTS),
        "control": ("per_cell", "shared"),
        "on_failure": ("raise", "return"),
    }
    for name, value in names.items():
        known = tables[name]
        if value not in known:
            raise SolverError(f"{name}={value!r} is unknown. Pass one of {list(known)}.")
    solver, gradient = names["solver"], names["gradient"]
    if checkpoints is not None and (checkpoints < 1 or gradient != "checkpointed"):
        raise SolverError(
            f"checkpoints={checkpoints} with gradient={gradient!r}: pass at least 1, with gradient='checkpointed'."
        )
    if step is not None:
        fixed = [name for name, method in EXPLICIT.items() if not method.adaptive]
        if solver not in fixed or not step > 0:
            raise SolverError(f"step={step} with solver={solver!r}: pass a positive step, with one of {fixed}.")


def check_problem(y0: Tensor, ts: Tensor) -> None:
    """Refuse initial states and times that no solver can take."""
    if y0.ndim != 2 or not y0.is_floating_point() or not y0.numel():
        raise SolverError(f"y0 has shape {tuple(y0.shape)} and dtype {y0.dtype}; pass floats of shape (batch, state).")
    if ts.ndim not in (1, 2) or ts.shape[-1] < 2 or (ts.ndim == 2 and len(ts) != len(y0)):
        raise SolverError(
            f"ts has shape {tuple(ts.shape)}; pass at least two times as (time,) or (batch, time), batch={len(y0)}."
        )
    steps = torch.diff(ts.detach(), dim=-1)
    if not bool(torch.isfinite(ts).all()):
        raise SolverError("ts is not finite. Drop those times.")
    still = (steps == 0).all(dim=-1, keepdim=True)
    if not bool(((steps > 0) | still).all() or ((steps < 0) | still).all()):
        raise SolverError("ts must be strictly monotone, all in one direction. Sort it and drop repeated times.")
    if not bool(torch.isfinite(y0).all()):
        rows = torch.nonzero(~torch.isfinite(y0).all(dim=1)).flatten()
        raise SolverError(f"y0 is not finite in {len(rows)} rows (first: {int(rows[0])}). Drop or repair those cells.")


def _check_tolerances(*, rtol: float, atol: float) -> None:
    if not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
        raise SolverError(f"rtol={rtol} and atol={atol} must not be negative, nor both 0. Pass rtol=1e-4, atol=1e-6.")
