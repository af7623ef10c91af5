"""What an integration did, so that it can be repeated and differentiated with the same steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from scnode.ode._step import Start, interpolate

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.ode._clock import Clock
    from scnode.ode._step import Method, Step, System


@dataclass(frozen=True)
class Outcome:
    """Results of a round for its rows; `saved` are states at asked times."""

    y: Tensor
    slope: Tensor | None
    saved: Tensor | None

    def parts(self) -> dict[str, Tensor]:
        """What there is and can be differentiated, by name."""
        parts = {"y": self.y, "slope": self.slope, "saved": self.saved}
        return {name: part for name, part in parts.items() if part is not None and part.requires_grad}


@dataclass(frozen=True)
class Saves:
    """Which asked times fall into a round: number in the round's rows, row in the batch, index of the time."""

    local: Tensor
    rows: Tensor
    index: Tensor


class Round(Protocol):
    """Something done to `rows` that later rounds build upon."""

    @property
    def rows(self) -> Tensor:
        """Trajectories."""
        ...

    @property
    def saves(self) -> Saves | None:
        """Asked times that are served."""
        ...

    @property
    def uses_slope(self) -> bool:
        """Whether the result depends on the slope that earlier rounds left."""
        ...

    def run(self, system: System, clock: Clock, y: Tensor, slope: Tensor | None) -> Outcome:
        """Do it again from the same states."""
        ...


class Timed(Round, Protocol):
    """A round that advances in time."""

    @property
    def method(self) -> Method:
        """How."""
        ...

    def timing(self, clock: Clock) -> tuple[Tensor, Tensor]:
        """Start and size of the step."""
        ...


@dataclass(frozen=True)
class Refresh:
    """The slope of `rows` evaluated anew."""

    rows: Tensor
    s: Tensor
    saves: Saves | None = None
    uses_slope: bool = False

    def run(self, system: System, clock: Clock, y: Tensor, slope: Tensor | None) -> Outcome:
        """Evaluate."""
        del slope
        return Outcome(y, system(moved(clock, self.rows, self.s), y, self.rows), None)


@dataclass(frozen=True)
class Advance:
    """One accepted step of `rows` with sizes that the error control chose."""

    rows: Tensor
    method: Method
    s: Tensor
    h: Tensor
    saves: Saves | None
    uses_slope: bool

    def timing(self, clock: Clock) -> tuple[Tensor, Tensor]:
        """Start and size of the step; where the first time needs a gradient, the first step carries it."""
        s = moved(clock, self.rows, self.s)
        return s, self.s + self.h - s if s.requires_grad else self.h

    def run(self, system: System, clock: Clock, y: Tensor, slope: Tensor | None) -> Outcome:
        """Step."""
        s, h = self.timing(clock)
        start = Start(self.rows, s, h, y, slope)
        step = self.method.step(system, start)
        return Outcome(step.y, step.slope, saved_states(self.method, step, start, clock, self.saves))


@dataclass(frozen=True)
class Stride:
    """Part `part` of `parts` of the interval that ends at time number `index`."""

    rows: Tensor
    method: Method
    index: int
    part: int
    parts: int
    uses_slope: bool = False

    def timing(self, clock: Clock) -> tuple[Tensor, Tensor]:
        """Start and size of the step."""
        before, after = clock.times[..., self.index - 1], clock.times[..., self.index]
        h = (after - before) / self.parts
        return before + self.part * h, h

    @property
    def saves(self) -> Saves | None:
        """All rows, when the interval is complete."""
        if self.part + 1 < self.parts:
            return None
        every = torch.arange(len(self.rows), device=self.rows.device)
        return Saves(every, self.rows, torch.full_like(self.rows, self.index))

    def run(self, system: System, clock: Clock, y: Tensor, slope: Tensor | None) -> Outcome:
        """Step."""
        del slope
        s, h = self.timing(clock)
        end = self.method.step(system, Start(self.rows, s, h, y)).y
        return Outcome(end, None, end if self.part + 1 == self.parts else None)


def moved(clock: Clock, rows: Tensor, s: Tensor) -> Tensor:
    """The clock's own start where a step begins there, so that it carries the gradient of the first time."""
    if not (torch.is_grad_enabled() and clock.times.requires_grad):
        return s
    return torch.where(s == clock.start(rows), clock.at(rows, 0), s)


def saved_states(method: Method, step: Step, start: Start, clock: Clock, saves: Saves | None) -> Tensor | None:
    """States at the asked times inside a step."""
    if saves is None:
        return None
    theta = (clock.at(saves.rows, saves.index) - start.s[saves.local]) / start.h[saves.local]
    return interpolate(method, step, start.y, saves.local, theta)


class Watch(Protocol):
    """Somebody who follows an integration."""

    def before(self, groups: list[tuple[Tensor, Tensor, Tensor | None]]) -> None:
        """Rows, states and slopes of all that is under way, before a round."""
        ...

    def refreshed(self, event: Round, y: Tensor) -> None:
        """Slopes were evaluated anew at `y`."""
        ...

    def stepped(self, event: Timed, y: Tensor, slope: Tensor | None, step: Step) -> None:
        """A step of the event's rows from `y` and `slope` was accepted."""
        ...


@dataclass
class Output:
    """Pieces of the result in the order in which they appear."""

    batch: int
    n_times: int

    def __post_init__(self) -> None:
        self.rows: list[Tensor] = []
        self.index: list[Tensor] = []
        self.states: list[Tensor] = []

    def add(self, rows: Tensor, index: Tensor, states: Tensor) -> None:
        """States of `rows` at times number `index`."""
        self.rows.append(rows)
        self.index.append(index)
        self.states.append(states)

    def assemble(self) -> Tensor:
        """All of them, shape (batch, time, state)."""
        states = torch.cat(self.states)
        place = torch.cat(self.rows) * self.n_times + torch.cat(self.index)
        return states[torch.argsort(place)].reshape(self.batch, self.n_times, -1)
