"""Observation times of each cell's own: 256 cells with 4 times each, none shared, forward and gradient.

Asked: the states of every cell at its own times at rtol 1e-4, and the gradient of their mean square, without solving
all cells at the union of all times.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from _measure import TENSORS, TIMING, race, tensor_peak
from _report import number, publish, ratio, small
from _torch_peers import diffeq, ode_torch, ours, union
from _work import Plain, backward, fused, layers, relative, states
from torch import Tensor, nn

RTOL, ATOL = 1e-4, 1e-6
N_CELLS, N_TIMES = 256, 4
WEIGHTS = layers()
Y0 = states(N_CELLS)
BASE, RIVAL = "torchdiffeq dopri5 backprop, union of times", "torchode dopri5"
Solve = Callable[[nn.Module], Tensor]
COLUMNS = ["solver", "forward + gradient s", "runs", "union over it", "over torchode", "tensors MB", "state error",
           "gradient error"]  # fmt: skip


def own_times() -> Tensor:
    """Zero, then sorted uniform times, shape (batch, 1 + time)."""
    drawn = torch.rand(N_CELLS, N_TIMES, generator=torch.Generator().manual_seed(2)).sort(1).values
    return torch.cat([torch.zeros(N_CELLS, 1), drawn], dim=1)


TS = own_times()


def main() -> None:
    field = Plain(WEIGHTS, torch.float64)
    tight = diffeq_own(field, rtol=1e-11, atol=1e-11)
    truth, true_gradient = backward(field, tight)
    rows = fields_and_solves()
    timed = race({name: partial(run, *row) for name, row in rows.items()}, budget=26.0)
    needs = {name: tensor_peak(partial(run, *row)) for name, row in rows.items()}
    base, rival = timed[BASE].seconds, timed[RIVAL].seconds
    table = []
    for name, timing in timed.items():
        errors = [float("nan")] * 2
        if timing.result is not None:
            errors = [relative(timing.result[0], truth), relative(timing.result[1], true_gradient)]
        table.append(
            [
                name,
                timing.failure or number(timing.seconds),
                timing.runs,
                ratio(base, timing.seconds),
                ratio(timing.seconds, rival),
                number(needs[name]),
                *(small(e) for e in errors),
            ]
        )
    publish(__file__, "Observation times of each cell's own", COLUMNS, table, notes())


def diffeq_own(field: nn.Module, **tolerance: float) -> Tensor:
    """Each interval of each cell mapped to [0, 1]: exact, and quick at a tight tolerance."""
    path = [Y0.double()]
    for start, end in zip(TS[:, :-1].unbind(1), TS[:, 1:].unbind(1), strict=True):
        length = (end - start).double().unsqueeze(1)
        unit = torch.tensor([0.0, 1.0], dtype=torch.float64)
        scaled = Scaled(field, length)
        path.append(diffeq(scaled, path[-1], unit, solver="dopri8", **tolerance)[:, -1])
    return torch.stack(path, dim=1)


class Scaled(nn.Module):
    def __init__(self, field: nn.Module, length: Tensor) -> None:
        super().__init__()
        self.field, self.length = field, length

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.length * self.field(t, y)


def fields_and_solves() -> dict[str, tuple[nn.Module, Solve]]:
    tolerance = {"rtol": RTOL, "atol": ATOL}
    rows: dict[str, tuple[nn.Module, Solve]] = {
        BASE: (Plain(WEIGHTS), lambda f: union(f, Y0, TS, **tolerance)),
        "torchdiffeq dopri5 odeint_adjoint, union of times": (
            Plain(WEIGHTS),
            lambda f: union(f, Y0, TS, adjoint=True, **tolerance),
        ),
        RIVAL: (Plain(WEIGHTS), lambda f: ode_torch(f, Y0, TS, solver="dopri5", **tolerance)),
        "torchode tsit5": (Plain(WEIGHTS), lambda f: ode_torch(f, Y0, TS, solver="tsit5", **tolerance)),
    }
    for solver in ("dopri5", "tsit5"):
        for way in ("backprop", "checkpointed"):
            solve = partial(ours, y0=Y0, ts=TS, solver=solver, gradient=way, **tolerance)
            rows[f"scnode {solver} {way}, MLPField"] = (fused(WEIGHTS), solve)
        rows[f"scnode {solver} backprop, plain field"] = (
            Plain(WEIGHTS),
            partial(ours, y0=Y0, ts=TS, solver=solver, gradient="backprop", **tolerance),
        )
    return rows


def run(field: nn.Module, solve: Solve) -> tuple[Tensor, object]:
    return backward(field, solve(field))


def notes() -> str:
    return (
        f"Network 20-128-128-128-20 with tanh, weights as nn.Linear draws them times 3.5; {N_CELLS} standard normal "
        f"states, {N_TIMES} uniform times of its own in [0, 1] for each, single precision, rtol {RTOL:g}, atol "
        f"{ATOL:g}; loss: mean square of the states. Medians of the runs given; a row of a minute runs once. "
        f"{TIMING}{TENSORS}Errors are relative norms to dopri8 at 1e-11 in double precision, interval by interval. "
        "torchdiffeq has one clock for the batch, so it solves all cells at all 1,025 times. `MLPField` is scnode's "
        "field, whose layers are fused on a CPU; `plain field` is the nn.Sequential that the peers run."
    )


if __name__ == "__main__":
    main()
