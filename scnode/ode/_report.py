"""The bias that the tolerance of a solve puts into gradients, method by method."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from scnode._errors import SolverError
from scnode.ode._gradient import GRADIENTS
from scnode.ode._probe import probe
from scnode.ode._solve import solve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from torch import Tensor

    from scnode._typing import VectorField


@dataclass(frozen=True)
class GradientRow:
    """One way of differentiating at one tolerance.

    Parameters
    ----------
    gradient, rtol
        What was asked for.
    bias
        Norm of the difference to the reference gradient over the norm of the reference; infinite after a failure.
    evaluations
        Velocities computed, forward and backward, each for one trajectory.
    seconds
        Time of the solve, the loss and its gradient.
    peak_bytes
        Most memory held at once beyond what was held before.
    failure
        Why there is no gradient; empty where there is one.
    """

    gradient: str
    rtol: float
    bias: float
    evaluations: int
    seconds: float
    peak_bytes: int
    failure: str


@dataclass(frozen=True)
class GradientReport:
    """Rows by method and tolerance, and the gradient that they are compared with.

    Parameters
    ----------
    rows
        One :class:`GradientRow` each.
    reference
        Gradient of the loss to the initial states and all leaves of the field, flattened one after another.
    reference_rtol
        Tolerance at which the reference was computed.
    """

    rows: tuple[GradientRow, ...]
    reference: Tensor
    reference_rtol: float

    def records(self) -> list[dict[str, Any]]:
        """Rows as dictionaries, ready for :class:`pandas.DataFrame`."""
        return [asdict(row) for row in self.rows]


def gradient_report(
    field: VectorField,
    y0: Tensor,
    ts: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    solver: str = "auto",
    gradients: Sequence[str] = ("backprop", "checkpointed", "adjoint"),
    rtols: Sequence[float] = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7),
    atol_ratio: float = 1e-2,
    **options: Any,
) -> GradientReport:
    r"""Compare gradients with a tight reference over a ladder of tolerances.

    The reported bias is :math:`\|g - g^*\| / \|g^*\|` over the gradient to the initial states and to every leaf behind
    the field. The exact gradient of the computed solution (``"backprop"``, ``"checkpointed"``, ``"forward"``) errs as
    the solution does; the continuous adjoint adds the error of a second integration.

    Parameters
    ----------
    field, y0, ts
        As in :func:`solve`; with float64 the reference reaches far below the ladder.
    loss
        Scalar of the states, shape (batch, time, state).
    solver
        Solver of all rows and of the reference.
    gradients
        Which ways to compare; ``"forward"`` is left out by default, since its work grows with the parameters.
    rtols
        Relative tolerances; the absolute one is `atol_ratio` times as large.
    atol_ratio
        Absolute over relative tolerance.
    **options
        Passed to :func:`solve`.

    Returns
    -------
    GradientReport
        Bias, evaluations, time and memory.

    Raises
    ------
    SolverError
        An unknown gradient, a loss that is no scalar or does not depend on the states, or a reference that could not
        be computed.

    References
    ----------
    :cite:p:`Onken2020`, :cite:p:`Gholami2019`
    """
    unknown = [name for name in gradients if name not in GRADIENTS]
    if unknown:
        raise SolverError(f"gradients={unknown} are unknown. Pass some of {list(GRADIENTS)}.")
    counted = _Counted(field)
    with torch.enable_grad():
        start = y0.detach().requires_grad_()
        t = ts[..., 0].detach().to(y0.dtype).expand(len(y0)).unsqueeze(1)
        leaves = [start, *probe(field, t, t, start.detach()).leaves]

        def gradient(name: str, rtol: float) -> Tensor:
            solution = solve(
                counted, start, ts, solver=solver, gradient=name, rtol=rtol, atol=rtol * atol_ratio, **options
            )
            value = loss(solution.ys)
            if value.ndim or not value.requires_grad:
                raise SolverError(
                    f"The loss has shape {tuple(value.shape)} and requires_grad={value.requires_grad}. "
                    "Return a scalar computed from the states."
                )
            grads = torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
            return torch.cat([grad.flatten() for grad in grads])

        tight = max(min(rtols) * 1e-3, 100 * torch.finfo(y0.dtype).eps)
        reference = gradient("checkpointed", tight)
        rows = [
            _row(partial(gradient, name, rtol), name, rtol, reference, counted) for name in gradients for rtol in rtols
        ]
    return GradientReport(tuple(rows), reference, tight)


class _Counted(torch.nn.Module):
    """The field with its evaluations counted."""

    def __init__(self, field: VectorField) -> None:
        super().__init__()
        self.field = field
        self.n_rows = 0
        if hasattr(field, "jacobian"):
            self.jacobian = field.jacobian

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.n_rows += len(y)
        return self.field(t, y)


def _row(gradient: Callable[[], Tensor], name: str, rtol: float, reference: Tensor, counted: _Counted) -> GradientRow:
    counted.n_rows = 0
    begin = time.perf_counter()
    try:
        found = gradient()
    except SolverError as error:
        return GradientRow(name, rtol, float("inf"), counted.n_rows, time.perf_counter() - begin, 0, str(error))
    seconds, evaluations = time.perf_counter() - begin, counted.n_rows
    bias = float((found - reference).norm() / reference.norm().clamp(min=torch.finfo(reference.dtype).tiny))
    return GradientRow(name, rtol, bias, evaluations, seconds, peak_bytes(gradient, reference.device), "")


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Most memory that `work` holds at once beyond what was held before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler announces itself on stderr otherwise
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    events = profile.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak
