"""A few hard cells among many: 1,024 cells of which 5 % run eight times faster, forward only.

Asked: every cell at the tolerance, the hard ones too, without the easy ones paying for it. The pace is a last,
constant state of the cell, so that rows stand for themselves and a solver may drop or reorder them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from _jax_peers import Diffrax, arrays, paced
from _measure import TIMING, Timing, race
from _report import number, publish, ratio, small
from _torch_peers import diffeq, ode_torch, ours
from _work import Paced, Plain, fused, layers, states
from torch import Tensor

N_CELLS, SHARE, PACE = 1024, 0.05, 8.0
WEIGHTS = layers(gain=2.0)
N_HARD = round(SHARE * N_CELLS)
TS = torch.linspace(0, 1, 2)
COLUMNS = [
    "solver",
    "rtol",
    "s",
    "over torchode",
    "worst hard cell",
    "worst easy cell",
    "median cell",
    "worst over worst alone",
]


def starts() -> Tensor:
    pace = torch.ones(N_CELLS, 1)
    pace[:: N_CELLS // N_HARD][:N_HARD] = PACE
    return torch.cat([states(N_CELLS), pace], dim=1)


Y0 = starts()
HARD = (Y0[:, -1] > 1).numpy()


def main() -> None:
    exact = Paced(Plain(WEIGHTS, torch.float64))
    with torch.no_grad():
        hard = torch.from_numpy(HARD)
        truth = torch.empty_like(Y0, dtype=torch.float64)
        for part in (hard, ~hard):
            tight = {"solver": "dopri8", "rtol": 1e-11, "atol": 1e-11}
            truth[part] = diffeq(exact, Y0[part].double(), TS.double(), **tight)[:, -1]
    rows = []
    for rtol in (1e-3, 1e-5):
        alone = one_by_one(rtol)
        norm = errors(alone.numpy(), truth[hard].numpy()).max()
        timed = race(solves(rtol, rtol * 1e-2))
        rival = timed["torchode dopri5"].seconds
        for name, timing in timed.items():
            head = [name, f"{rtol:g}", timing.failure or number(timing.seconds), ratio(timing.seconds, rival)]
            rows.append(head + shown(timing, truth.numpy(), norm))
    publish(__file__, "A few hard cells among many", COLUMNS, rows, notes())


def one_by_one(rtol: float) -> Tensor:
    """Every hard cell solved alone by torchdiffeq: what the tolerance means for a cell."""
    field = Paced(Plain(WEIGHTS))
    with torch.no_grad():
        ends = [diffeq(field, y.unsqueeze(0), TS, rtol=rtol, atol=rtol * 1e-2)[:, -1] for y in Y0[HARD]]
    return torch.cat(ends)


def solves(rtol: float, atol: float) -> dict[str, Callable[[], Any]]:
    options = {"rtol": rtol, "atol": atol}
    rows = {
        "torchdiffeq dopri5, batch norm": partial(end, diffeq, Paced(Plain(WEIGHTS)), **options),
        "torchode dopri5": partial(end, ode_torch, Paced(Plain(WEIGHTS)), solver="dopri5", **options),
        "torchode tsit5": partial(end, ode_torch, Paced(Plain(WEIGHTS)), solver="tsit5", **options),
    }
    for solver in ("Dopri5", "Tsit5"):
        compiled = Diffrax(paced, TS.numpy(), solver=solver, single=True)
        rows[f"diffrax {solver.lower()}, vmap"] = partial(jax_end, compiled, **options)
    for solver in ("dopri5", "tsit5"):
        mine = {"solver": solver, "control": "per_cell", **options}
        rows[f"scnode {solver} per cell, MLPField"] = partial(end, ours, Paced(fused(WEIGHTS)), **mine)
        rows[f"scnode {solver} per cell, plain field"] = partial(end, ours, Paced(Plain(WEIGHTS)), **mine)
    return rows


def end(integrate: Callable[..., Tensor], field: torch.nn.Module, **options: Any) -> np.ndarray:
    with torch.no_grad():
        return integrate(field, Y0, TS, **options)[:, -1].numpy()


def jax_end(compiled: Diffrax, **options: float) -> np.ndarray:
    return compiled.run(arrays(WEIGHTS), Y0.numpy(), **options)[0][:, -1]


def errors(ends: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Relative error of each cell's state, without its constant pace."""
    return np.linalg.norm((ends - truth)[:, :-1], axis=1) / np.linalg.norm(truth[:, :-1], axis=1)


def shown(timing: Timing, truth: np.ndarray, alone: float) -> list[str]:
    if timing.result is None:
        return ["-"] * 4
    off = errors(timing.result, truth)
    worst = off[HARD].max()
    return [small(worst), small(off[~HARD].max()), small(np.median(off)), ratio(worst, alone)]


def notes() -> str:
    return (
        f"Network 20-128-128-128-20 with tanh, weights as nn.Linear draws them times 2; {N_CELLS} standard normal "
        f"states of which {N_HARD} run at {PACE:g} times the pace of the others, over [0, 1], single precision, atol "
        f"1 % of rtol, no gradient. Medians of five. {TIMING}Errors are relative, cell by cell, at the end, to dopri8 "
        "at 1e-11 in double precision. The last column sets the worst hard cell beside the worst one when torchdiffeq "
        "solves each hard cell alone at the same tolerance: 1x is what the tolerance means for a cell. `MLPField` is "
        "scnode's field, whose layers are fused on a CPU; `plain field` is the nn.Sequential that the peers run."
    )


if __name__ == "__main__":
    main()
