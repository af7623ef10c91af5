"""Gradient through a stiff solve: A y + MLP(y) of 20 states with rates over 1e3 and 1e4, 64 cells, end-time loss.

Asked: the gradient of the mean square of the end states by A and the weights at rtol 1e-5 in double precision, its
error no larger than the tolerance, its price a small multiple of the forward solve.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from _measure import TIMING, Timing, race
from _report import number, publish, ratio, small
from _stiff_work import LinMLP, lin_mlp
from _torch_peers import diffeq, ours
from _work import backward, relative
from torch import Tensor, nn

RTOL, ATOL, N_CELLS, CAP = 1e-5, 1e-8, 64, 50_000
RATIOS = (1e3, 1e4)
COLUMNS = ["stiffness ratio", "solver", "forward s", "total s", "total over forward", "state error", "gradient error"]
Solve = Callable[[nn.Module], Tensor]


class Capped(nn.Module):
    """A field that ends a solve that has lost its way."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field, self.calls = field, 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > CAP:
            raise RuntimeError(f"stopped after {CAP} calls")
        return self.field(t, y)


def main() -> None:
    rows = []
    for stiffness in RATIOS:
        problem = lin_mlp(N_CELLS, stiffness)
        tight = {"solver": "dopri5", "rtol": 1e-10, "atol": 1e-10}
        truth = backward(problem.torch, diffeq(problem.torch, problem.y0, problem.ts, **tight)[:, -1])
        solves = solvers(problem.y0, problem.ts)
        forward = race({name: partial(run, solve, stiffness, grad=False) for name, solve in solves.items()})
        both = race({name: partial(run, solve, stiffness, grad=True) for name, solve in solves.items()})
        rows += [[f"{stiffness:.0e}", name, *line(forward[name], both[name], truth)] for name in solves]
    publish(__file__, "The gradient through a stiff solve", COLUMNS, rows, notes())


def solvers(y0: Tensor, ts: Tensor) -> dict[str, Solve]:
    tolerance = {"rtol": RTOL, "atol": ATOL}
    rows: dict[str, Solve] = {
        "torchdiffeq dopri5 backprop": lambda f: diffeq(Capped(f), y0, ts, **tolerance),
        "torchdiffeq dopri5 odeint_adjoint": lambda f: diffeq(Capped(f), y0, ts, adjoint=True, **tolerance),
    }
    for solver in ("rodas5p", "radau5"):
        for way in ("backprop", "checkpointed"):
            rows[f"scnode {solver} {way}"] = partial(ours, y0=y0, ts=ts, solver=solver, gradient=way, **tolerance)
    return rows


def run(solve: Solve, stiffness: float, *, grad: bool) -> tuple[Tensor, np.ndarray] | Tensor:
    field = LinMLP(stiffness)
    if grad:
        return backward(field, solve(field)[:, -1])
    with torch.no_grad():
        return solve(field)[:, -1]


def line(forward: Timing, both: Timing, truth: tuple[Tensor, np.ndarray]) -> list[str]:
    head = [forward.failure or number(forward.seconds), both.failure or number(both.seconds)]
    if both.result is None:
        return [*head, "-", "-", "-"]
    off = [relative(value, true) for value, true in zip(both.result, truth, strict=True)]
    return [*head, ratio(both.seconds, forward.seconds), *(small(e) for e in off)]


def notes() -> str:
    return (
        "A y + MLP(y), 20 states, hidden layer of 64, relaxation rates spread evenly on a log scale from 1 to the "
        f"ratio; {N_CELLS} standard normal states over [0, 1], double precision, rtol {RTOL:g}, atol {ATOL:g}; loss: "
        f"mean square of the end states. Medians of five, fewer for runs of seconds. {TIMING}Errors are relative "
        "norms, the gradient's over all parameters, to torchdiffeq's dopri5 backprop at 1e-10. odeint_adjoint solves "
        f"back from the end state alone; a solve is stopped after {CAP} calls of the field."
    )


if __name__ == "__main__":
    main()
