"""What a controlled field may be put under: constants, schedules and callables, and several of them side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from scnode._rows import at_rows

Input: TypeAlias = "Tensor | Callable[[Tensor], Tensor]"


def value_at(u: Input, t: Tensor) -> Tensor:
    """Input at a time, of at least one dimension, the last one the control."""
    value = torch.as_tensor(u(t)) if callable(u) else u
    return value if value.ndim else value.unsqueeze(0)


def breaks_of(u: Input) -> Tensor:
    """Times at which an input says that it jumps or bends; a constant and a plain callable name none."""
    return getattr(u, "breaks", torch.zeros(0))


@dataclass(frozen=True)
class Joint:
    """Inputs of several columns side by side.

    Parameters
    ----------
    parts
        Constants (control,) or (cell, control), schedules or callables of time.
    """

    parts: tuple[Input, ...]

    @property
    def breaks(self) -> Tensor:
        """Those of all parts, increasing."""
        return torch.cat([breaks_of(part).double() for part in self.parts]).unique()

    def __call__(self, t: Tensor) -> Tensor:
        """Shape (..., control), rows broadcast against each other."""
        values = [value_at(part, t).to(t) for part in self.parts]
        rows = torch.broadcast_shapes(*(v.shape[:-1] for v in values))
        return torch.cat([v.expand(*rows, v.shape[-1]) for v in values], -1)

    def at_rows(self, rows: Tensor) -> Joint:
        """That of some rows alone."""
        return Joint(tuple(at_rows(part, rows) for part in self.parts))


@dataclass(frozen=True)
class Before:
    """An input as seen before a time: there, and later, it keeps the value that it comes with.

    Parameters
    ----------
    input
        What is seen.
    end
        The time, a scalar.
    """

    input: Input
    end: Tensor

    def __call__(self, t: Tensor) -> Tensor:
        """Value of the input at the last moment before the end, where `t` is not earlier."""
        last = torch.nextafter(self.end.detach().to(t), t.new_full((), -torch.inf))
        return value_at(self.input, torch.minimum(t, last))

    def at_rows(self, rows: Tensor) -> Before:
        """That of some rows alone."""
        return Before(at_rows(self.input, rows), self.end)
