"""The times asked for, in ascending order, shared or one list per trajectory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Clock:
    """Ascending times `s`, shape (time,) or (batch, time), in double precision; they may carry a gradient."""

    times: Tensor
    fixed: Tensor
    """`times` without their gradient."""

    @classmethod
    def of(cls, ts: Tensor, sign: int) -> Clock:
        """Times as asked for, ascending after multiplication with `sign`."""
        times = ts.to(torch.float64) * sign
        return cls(times, times.detach().contiguous())

    @property
    def n_times(self) -> int:
        """Number of times asked for."""
        return self.times.shape[-1]

    def at(self, rows: Tensor, index: Tensor | int) -> Tensor:
        """Times number `index` of `rows`, with their gradient."""
        if self.times.ndim == 2:
            return self.times[rows, index]
        return self.times[index].expand(len(rows)) if isinstance(index, int) else self.times[index]

    def end(self, rows: Tensor) -> Tensor:
        """Last time of `rows`."""
        return self.fixed[rows, -1] if self.fixed.ndim == 2 else self.fixed[-1].expand(len(rows))

    def start(self, rows: Tensor) -> Tensor:
        """First time of `rows`."""
        return self.fixed[rows, 0] if self.fixed.ndim == 2 else self.fixed[0].expand(len(rows))

    def passed(self, rows: Tensor, s: Tensor) -> Tensor:
        """How many times of `rows` are not later than `s`, shape (len(rows),)."""
        if self.fixed.ndim == 2:
            return torch.searchsorted(self.fixed[rows], s.unsqueeze(1), right=True).squeeze(1)
        return torch.searchsorted(self.fixed, s, right=True)
