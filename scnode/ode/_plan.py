"""Which method with which steps, and how an integration with them ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scnode._errors import SolverError
from scnode.ode._march import March
from scnode.ode._solution import Status
from scnode.ode._stride import stride

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.ode._clock import Clock
    from scnode.ode._control import Control
    from scnode.ode._record import Watch
    from scnode.ode._solution import Stats
    from scnode.ode._step import Method, System

_REMEDY = {
    Status.NON_FINITE: "The field is not finite there: end `ts` before that time, or mend the field.",
    Status.STALLED: (
        "The solution runs away, or the field jumps there, or the tolerance is below what the precision resolves: "
        "end `ts` before that time, loosen `rtol` and `atol`, or pass states of torch.float64."
    ),
    Status.MAX_STEPS: (
        "An explicit method on a stiff field takes this many: pass solver='auto' or 'rodas5p'. "
        "Otherwise loosen `rtol` or cut `ts` into parts."
    ),
}


@dataclass(frozen=True)
class Run:
    """How an integration ended."""

    stats: Stats
    status: Tensor
    reached: Tensor
    """Last time and next step size of every trajectory, shape (batch, 2)."""

    @property
    def size(self) -> Tensor:
        """Step sizes to go on with."""
        return self.reached[:, 1]

    def raise_for_status(self, sign: int, what: str = "solution") -> None:
        """Say where and why trajectories did not arrive."""
        lost = torch.nonzero(self.status).flatten()
        if not len(lost):
            return
        first = int(lost[0])
        status = Status(int(self.status[first]))
        t, h = self.reached[first].tolist()
        steps, rejected = int(self.stats.n_steps[first]), int(self.stats.n_rejected[first])
        raise SolverError(
            f"The {what} of {len(lost)} of {len(self.status)} trajectories did not arrive. "
            f"The first is number {first}: {status.name} at t={sign * t:.6g} with step {h:.3g} after {steps} steps "
            f"({rejected} rejected). {_REMEDY[status]} "
            "With on_failure='return' the others are returned beside a status."
        )


@dataclass(frozen=True)
class Plan:
    """Method or methods, error control, and the step size of methods that have none."""

    methods: tuple[Method, ...]
    control: Control
    step: float | None = None
    start: int = 0

    def evaluations(self, times: Tensor) -> float:
        """A rough number of evaluations, to foresee memory by."""
        if self.methods[0].adaptive:
            return 300.0
        steps = times.shape[-1] if self.step is None else float((times[..., -1] - times[..., 0]).amax()) / self.step
        return 4.0 * steps

    def run(
        self, system: System, y0: Tensor, clock: Clock, watch: Watch | None = None, h0: Tensor | None = None
    ) -> tuple[Tensor, Run]:
        """States of `system` from `y0` at all times of `clock`, shape (batch, time, state), and how it ended."""
        if not self.methods[0].adaptive:
            ys, stats = stride(system, self.methods[0], y0, clock, step=self.step, watch=watch)
            status, reached = _fixed_status(ys, clock)
            return ys, Run(stats, status, reached)
        march = March(system, self.methods, clock, self.control, watch)
        ys = march.run(y0, self.start, h0)
        return ys, Run(march.stats(), march.status, march.reached)


def _fixed_status(ys: Tensor, clock: Clock) -> tuple[Tensor, Tensor]:
    """Steps of fixed size cannot react, so their result is looked at afterwards."""
    finite = torch.isfinite(ys.detach()).all(dim=2)
    first = finite.long().cumprod(dim=1).sum(dim=1).clamp(max=clock.n_times - 1)
    status = torch.where(finite.all(dim=1), int(Status.SUCCESS), int(Status.NON_FINITE))
    rows = torch.arange(len(ys), device=ys.device)
    s = clock.at(rows, first).detach()
    return status, torch.stack([s, torch.zeros_like(s)], dim=1)
