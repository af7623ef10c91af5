"""Adaptive integration of many trajectories, each with steps of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from scnode.ode._record import Advance, Output, Refresh, Saves, saved_states
from scnode.ode._solution import Stats, Status
from scnode.ode._step import Start

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from torch import Tensor

    from scnode.ode._clock import Clock
    from scnode.ode._control import Control
    from scnode.ode._record import Watch
    from scnode.ode._step import Method, Step, System

_MAX_ATTEMPTS = 10_000
# A cell is stiff when its explicit steps sit at the stability limit (3.3 to 3.5 for these pairs), and no longer so
# when an explicit step of the same size would be well inside it (Hairer & Wanner II, IV.2).
_STIFF, _STIFF_STREAK = 3.0, 5
_CALM, _CALM_STREAK = 0.5, 10
# The estimate inside a step reads too low while slow components dominate the stages, as in Robertson's problem at
# tight tolerance. So the spectral radius itself is looked at once in so many steps.
_INSPECT_EVERY, _INSPECT = 40, 2.5


@dataclass
class Group:
    """Trajectories under way with one method; every tensor has a row for each of them."""

    method: Method
    rows: Tensor
    y: Tensor
    slope: Tensor | None
    s: Tensor
    h: Tensor
    last: Tensor
    """Scaled error of the last accepted step."""
    position: Tensor
    """How many of the asked times have been served."""
    streak: Tensor
    """Steps in a row that speak for another method."""
    counts: Tensor

    def take(self, keep: Tensor) -> Group:
        """Only the trajectories `keep`."""
        parts: dict[str, Any] = {
            name: part[keep] for name, part in vars(self).items() if isinstance(part, torch.Tensor)
        }
        return replace(self, **parts)

    def join(self, other: Group) -> Group:
        """These and the others."""
        mine = {name: part for name, part in vars(self).items() if isinstance(part, torch.Tensor)}
        both: dict[str, Any] = {name: torch.cat([part, vars(other)[name]]) for name, part in mine.items()}
        return replace(self, **both)


@dataclass(frozen=True)
class Attempt:
    """A step that was tried, and what came of it."""

    start: Start
    size: Tensor
    """Step sizes without their gradient."""
    step: Step
    norms: Tensor
    accept: Tensor
    reached: Tensor
    """Times after the step, where it is accepted."""
    size_next: Tensor


class March:
    """An integration under way.

    Parameters
    ----------
    system
        What is integrated.
    methods
        One method, or an explicit and an implicit one between which every trajectory may move.
    clock, control
        Times asked for, and error control.
    watch
        Told of every round.
    """

    def __init__(
        self, system: System, methods: Sequence[Method], clock: Clock, control: Control, watch: Watch | None
    ) -> None:
        self.system, self.methods, self.clock, self.control, self.watch = system, methods, clock, control, watch

    def run(self, y0: Tensor, start: int = 0, h0: Tensor | None = None, *, most: int = _MAX_ATTEMPTS) -> Tensor:
        """States at all asked times; the trajectories begin with method number `start` and steps `h0`, if known.

        Those that have not arrived after `most` attempts keep the state that they have reached.
        """
        groups = [self._begin(y0, start, h0)]
        attempts = 0
        while groups:
            for i in reversed(range(len(groups))):
                if self.watch is not None:
                    self.watch.before([(g.rows, g.y, g.slope) for g in groups])
                groups[i] = self._round(groups[i])
            attempts += 1
            if attempts >= most:
                for group in groups:
                    self._give_up(group, torch.full_like(group.rows, int(Status.MAX_STEPS)))
                break
            if len(self.methods) > 1:
                groups = self._hand_over(groups)
            groups = [group for group in groups if len(group.rows)]
        return self.output.assemble()

    def stats(self) -> Stats:
        """Counts by trajectory."""
        steps, rejected, evaluations, jacobians, factorisations, switches = self.counts.unbind(1)
        return Stats(steps, rejected, evaluations, jacobians, factorisations, switches, n_calls=0)

    def _begin(self, y0: Tensor, start: int, h0: Tensor | None) -> Group:
        clock, method, device = self.clock, self.methods[start], y0.device
        self.output = Output(len(y0), clock.n_times)
        self.status = torch.zeros(len(y0), dtype=torch.long, device=device)
        self.counts = torch.zeros(len(y0), 6, dtype=torch.long, device=device)
        self.reached = torch.zeros(len(y0), 2, dtype=torch.float64, device=device)
        rows = torch.arange(len(y0), device=device)
        s, nothing = clock.at(rows, 0), torch.zeros_like(rows)
        self.output.add(rows, nothing, y0)
        slope = self.system(s, y0, rows)
        if h0 is None:
            with torch.no_grad():
                whole = Start(rows, s.detach(), clock.end(rows) - s.detach(), y0)
                h0 = self.control.first_step(self.system, whole, slope, method.order)
        counts = torch.zeros_like(self.counts)
        counts[:, 2] = 2
        ones = torch.ones_like(h0)
        group = Group(method, rows, y0, None, s, h0, ones, nothing + 1, nothing, counts)
        return self._with_slope(group, slope)

    def _with_slope(self, group: Group, slope: Tensor | None = None) -> Group:
        """Give an explicit method the slope that it starts from."""
        if group.method.implicit:
            return replace(group, slope=None)
        if slope is None:
            slope = self.system(group.s, group.y, group.rows)
        if self.watch is not None:
            self.watch.refreshed(Refresh(group.rows, group.s.detach()), group.y)
        return replace(group, slope=slope)

    def _round(self, group: Group) -> Group:
        attempt = self._attempt(group)
        group = self._serve(group, attempt)
        return self._release(self._update(group, attempt))

    def _attempt(self, group: Group) -> Attempt:
        end, begin = self.clock.end(group.rows), group.s.detach()
        remaining = end - begin
        proposed = self.control.within(group.h, self.system.longest(begin, group.rows))
        arrives = 1.01 * proposed >= remaining
        if self.control.shared:
            arrives = arrives.any().expand_as(arrives)
        size = torch.where(arrives, remaining, proposed)
        h = begin + size - group.s if group.s.requires_grad else size
        start = Start(group.rows, group.s, h, group.y, group.slope)
        step = group.method.step(self.system, start)
        with torch.no_grad():
            norms = self.control.norm(step, group.y)
            accept = norms <= 1
            size_next = size * self.control.factor(norms, group.last, group.method.error_order)
            # The last step is cut to arrive; what follows may go on with the size before the cut.
            size_next = torch.where(arrives & accept, torch.maximum(size_next, proposed), size_next)
            reached = torch.where(arrives, end, begin + size)
        return Attempt(start, size, step, norms, accept, reached, size_next)

    def _serve(self, group: Group, attempt: Attempt) -> Group:
        """Write the states at asked times that accepted steps have passed, and report the round."""
        passed = torch.where(attempt.accept, self.clock.passed(group.rows, attempt.reached), group.position)
        saves = _newly_passed(group, passed)
        saved = saved_states(group.method, attempt.step, attempt.start, self.clock, saves)
        if saves is not None and saved is not None:
            self.output.add(saves.rows, saves.index, saved)
        if self.watch is not None:
            self._report(group, attempt, saves)
        return replace(group, position=passed)

    def _report(self, group: Group, attempt: Attempt, saves: Saves | None) -> None:
        """Tell the watch of the rows whose step was accepted."""
        assert self.watch is not None  # the caller asked
        kept = torch.nonzero(attempt.accept).flatten()
        step, size = attempt.step, attempt.size
        if not len(kept):
            return
        if len(kept) < len(size):
            if saves is not None:
                saves = replace(saves, local=(attempt.accept.cumsum(0) - 1)[saves.local])
            span = None if step.span is None else step.span[kept]
            step = replace(step, stages=[k[kept] for k in step.stages], span=span)
            group, size = group.take(kept), size[kept]
        event = Advance(group.rows, group.method, group.s.detach(), size, saves, uses_slope=group.slope is not None)
        self.watch.stepped(event, group.y, group.slope, step)

    def _update(self, group: Group, attempt: Attempt) -> Group:
        step, accept, slope = attempt.step, attempt.accept, group.slope
        if bool(accept.all()):
            y, s = step.y, attempt.reached
            slope = None if slope is None else step.slope
        else:
            which = accept.unsqueeze(1)
            y, s = torch.where(which, step.y, group.y), torch.where(accept, attempt.reached, group.s)
            slope = torch.where(which, step.slope, slope) if step.slope is not None and slope is not None else None
        work = step.work
        done = torch.tensor([0, 0, work.evaluations, work.jacobians, work.factorisations, 0], device=y.device)
        counts = group.counts + done
        counts[:, 0] += accept
        counts[:, 1] += ~accept
        group = replace(group, y=y, slope=slope, s=s, counts=counts)
        return replace(
            group,
            streak=self._votes(group, attempt),
            h=attempt.size_next,
            last=torch.where(accept, attempt.norms.clamp(min=1e-4), group.last),
        )

    def _votes(self, group: Group, attempt: Attempt) -> Tensor:
        """Accepted steps in a row that speak for the other method."""
        stiffness = attempt.step.stiffness
        if len(self.methods) == 1 or stiffness is None:
            return group.streak
        stiffness = stiffness.amax() if self.control.shared else stiffness
        vote = stiffness < _CALM if group.method.implicit else stiffness > _STIFF
        streak = torch.where(attempt.accept, torch.where(vote, group.streak + 1, 0), group.streak)
        return streak if group.method.implicit else self._inspect(group, attempt, streak)

    def _inspect(self, group: Group, attempt: Attempt, streak: Tensor) -> Tensor:
        """Now and then, let the eigenvalues of the Jacobian decide at once."""
        due = torch.nonzero(attempt.accept & (group.counts[:, 0] % _INSPECT_EVERY == 0)).flatten()
        if not len(due):
            return streak
        with torch.no_grad():
            jacobian = self.system.jacobian(group.s[due].detach(), group.y[due].detach(), group.rows[due])
            radius = torch.linalg.eigvals(jacobian).abs().amax(-1) * attempt.size[due]
        group.counts[due, 3] += 1
        stiff = radius > _INSPECT
        if self.control.shared:
            stiff = stiff.any().expand_as(stiff)
        return streak.index_put((due,), torch.where(stiff, _STIFF_STREAK, streak[due]))

    def _release(self, group: Group) -> Group:
        """Let go of trajectories that have arrived or cannot go on."""
        away = group.position == self.clock.n_times
        stalled = ~away & (group.h <= 4e-16 * group.s.detach().abs().clamp(min=1e-60))
        if bool(stalled.any()):
            lost = group.take(stalled)
            finite = torch.isfinite(self.system(lost.s.detach(), lost.y.detach(), lost.rows)).all(dim=1)
            self._give_up(lost, torch.where(finite, int(Status.STALLED), int(Status.NON_FINITE)))
            away = away | stalled
        if not bool(away.any()):
            return group
        rows = group.rows[away]
        self.counts[rows] = group.counts[away]
        self.reached[rows] = torch.stack([group.s.detach(), group.h], dim=1)[away]
        return group.take(~away)

    def _give_up(self, group: Group, status: Tensor) -> None:
        """Close trajectories that cannot go on: the last state stands for every later time."""
        self.status[group.rows] = status
        self.counts[group.rows] = group.counts
        self.reached[group.rows] = torch.stack([group.s.detach(), group.h], dim=1)
        saves = _newly_passed(group, torch.full_like(group.position, self.clock.n_times))
        if saves is not None:
            self.output.add(saves.rows, saves.index, group.y[saves.local].detach())

    def _hand_over(self, groups: list[Group]) -> list[Group]:
        """Move trajectories whose streak is long enough to the other method."""
        by_method = {group.method.name: group for group in groups}
        moving = []
        for group in groups:
            leave = group.streak >= (_CALM_STREAK if group.method.implicit else _STIFF_STREAK)
            if not bool(leave.any()):
                continue
            by_method[group.method.name] = group.take(~leave)
            other = self.methods[0] if group.method.implicit else self.methods[1]
            moved = group.take(leave)
            moved.counts[:, 5] += 1
            moving.append(self._with_slope(replace(moved, method=other, streak=torch.zeros_like(moved.streak))))
        for group in moving:
            there = by_method.get(group.method.name)
            by_method[group.method.name] = group if there is None else there.join(group)
        return list(by_method.values())


def _newly_passed(group: Group, passed: Tensor) -> Saves | None:
    """Asked times between those served and those passed, for each row as many as there are."""
    count = passed - group.position
    each = torch.arange(len(count), device=count.device)
    local = torch.repeat_interleave(each, count)
    if not len(local):
        return None
    first = count.cumsum(0) - count
    index = group.position[local] + torch.arange(len(local), device=local.device) - first[local]
    return Saves(local, group.rows[local], index)
