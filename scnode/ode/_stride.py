"""Integration with steps of fixed size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from scnode.ode._record import Output, Stride
from scnode.ode._solution import Stats
from scnode.ode._step import Start

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.ode._clock import Clock
    from scnode.ode._record import Watch
    from scnode.ode._step import Method, System


def stride(
    system: System, method: Method, y0: Tensor, clock: Clock, *, step: float | None, watch: Watch | None = None
) -> tuple[Tensor, Stats]:
    """States at all asked times; each interval between them is cut into equal steps not longer than `step`."""
    batch = len(y0)
    rows = torch.arange(batch, device=y0.device)
    output = Output(batch, clock.n_times)
    output.add(rows, torch.zeros_like(rows), y0)
    y, n_steps, evaluations = y0, 0, 0
    lengths = torch.diff(clock.fixed, dim=-1).reshape(-1, clock.n_times - 1).amax(0).tolist()
    for index, length in enumerate(lengths, start=1):
        parts = 1 if step is None else max(1, math.ceil(length / step - 1e-9))
        for part in range(parts):
            event = Stride(rows, method, index, part, parts)
            s, h = event.timing(clock)
            if watch is not None:
                watch.before([(rows, y, None)])
            taken = method.step(system, Start(rows, s, h, y))
            if watch is not None:
                watch.stepped(event, y, None, taken)
            y = taken.y
            n_steps += 1
            evaluations += taken.work.evaluations
        output.add(rows, torch.full_like(rows, index), y)
    each = torch.full_like(rows, n_steps)
    nothing = torch.zeros_like(rows)
    stats = Stats(each, nothing, torch.full_like(rows, evaluations), nothing, nothing, nothing, n_calls=0)
    return output.assemble(), stats
