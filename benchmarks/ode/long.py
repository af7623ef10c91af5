"""Long solves: 500 and 5,000 steps of rk4 over [0, 1], 128 cells, network of 20-128-128-128-20 with tanh.

Asked: the gradient of a loss at the end time, at the memory of a few steps rather than of all, and no slower than
backpropagation that keeps everything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from _measure import RESIDENT, TIMING, Timing, attempt, race, watch
from _report import number, publish, ratio, small
from _torch_peers import diffeq, ours
from _work import Plain, backward, fused, layers, relative, states
from torch import Tensor, nn

SHORT, LONG = 500, 5000
WEIGHTS = layers()
Y0, TS = states(128), torch.linspace(0, 1, 2)
BASE = "torchdiffeq backprop"
Solve = Callable[[nn.Module, int], Tensor]
COLUMNS = [
    "rk4",
    f"s, {SHORT}",
    f"s, {LONG}",
    "over backprop",
    f"MB, {SHORT}",
    f"MB, {LONG}",
    "of backprop's MB",
    "growth",
    "gradient from backprop's",
]


def main() -> None:
    rows = fields_and_solves()
    short = race({name: partial(run, *row, SHORT) for name, row in rows.items()}, budget=60.0)
    needs = {name: watch(partial(run, *row, SHORT))[1] for name, row in rows.items()}
    long = {name: heavy(partial(run, *row, LONG)) for name, row in rows.items()}
    table = [line(name, short[name], needs[name], long) for name in rows]
    publish(__file__, "Long solves", COLUMNS, table, notes())


def fields_and_solves() -> dict[str, tuple[nn.Module, Solve]]:
    def peer(field: nn.Module, n: int, **more: Any) -> Tensor:
        return diffeq(field, Y0, TS, solver="rk4", options={"step_size": 1 / n}, **more)

    def mine(field: nn.Module, n: int, **more: Any) -> Tensor:
        return ours(field, Y0, TS, solver="rk4", step=1 / n, **more)

    rows: dict[str, tuple[nn.Module, Solve]] = {
        BASE: (Plain(WEIGHTS), peer),
        "torchdiffeq odeint_adjoint": (Plain(WEIGHTS), partial(peer, adjoint=True)),
    }
    for way in ("backprop", "checkpointed"):
        rows[f"scnode {way}, MLPField"] = (fused(WEIGHTS), partial(mine, gradient=way))
    rows["scnode checkpointed, plain field"] = (Plain(WEIGHTS), partial(mine, gradient="checkpointed"))
    return rows


def run(field: nn.Module, solve: Solve, n: int) -> np.ndarray:
    return backward(field, solve(field, n)[:, -1])[1]


def heavy(row: Callable[[], np.ndarray]) -> tuple[Timing, float]:
    """One run; where it fetches gigabytes, which a training loop does once, the faster of it and a second."""
    first, peak = watch(row)
    if not peak > 1024:
        return first, peak
    return min(first, attempt(row), key=lambda timing: timing.seconds), peak


def line(name: str, short: Timing, need: float, long: dict[str, tuple[Timing, float]]) -> list[str]:
    timing, peak = long[name]
    base, base_peak = long[BASE]
    off = relative(timing.result, base.result) if timing.result is not None else float("nan")
    return [
        name,
        short.failure or number(short.seconds),
        timing.failure or number(timing.seconds),
        ratio(timing.seconds, base.seconds),
        number(need),
        number(peak),
        f"{100 * peak / base_peak:.2f} %",
        ratio(peak, need),
        small(off),
    ]


def notes() -> str:
    return (
        "Network 20-128-128-128-20 with tanh, weights as nn.Linear draws them times 3.5; 128 standard normal states, "
        f"single precision, fixed steps of 1/{SHORT} and 1/{LONG}; loss: mean square of the states at the end. "
        f"Medians of five at {SHORT} steps; one run at {LONG}, the faster of two where it needs gigabytes. "
        f"{TIMING}{RESIDENT}Growth is the memory for ten times the steps. torchdiffeq's rk4 is the 3/8 rule and "
        "scnode's the classical one, of the same order and cost. `MLPField` is scnode's field; `plain field` is the "
        "nn.Sequential that torchdiffeq runs."
    )


if __name__ == "__main__":
    main()
