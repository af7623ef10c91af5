"""Choosing the solver: `auto` beside tsit5, rodas5p and radau5, from no stiffness to a ratio of 1e6.

Asked: at most 1.3 times the time of the best of the three on every problem, and no failure on any.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from _measure import TIMING, attempt, race
from _report import number, publish, ratio, small
from _stiff_work import Problem, hires, lin_mlp, van_der_pol
from _torch_peers import ours

N_CELLS, N_REFERENCE, RTOL = 256, 32, 1e-5
SOLVERS = ("tsit5", "rodas5p", "radau5")
CAP = 10_000
COLUMNS = ["problem", *(f"{s} s" for s in SOLVERS), "auto s", "auto over best", "best error", "auto error"]


def main() -> None:
    problems = [lin_mlp(N_CELLS, 10.0**k) for k in range(7)] + [hires(N_CELLS), van_der_pol(N_CELLS)]
    publish(__file__, "Choosing the solver", COLUMNS, [line(p) for p in problems], notes())


def line(problem: Problem) -> list[str]:
    truth = solve(problem, "rodas5p", 1e-10, N_REFERENCE)
    names = (*SOLVERS, "auto")
    runs = {name: partial(solve, problem, name, RTOL, N_CELLS) for name in names}
    timed = race(runs, budget=15.0, first={name: attempt(run) for name, run in runs.items()})
    best = min((timed[s] for s in SOLVERS if not timed[s].failure), key=lambda timing: timing.seconds)
    auto = timed["auto"]
    return [
        problem.name,
        *(number(timed[s].seconds) for s in SOLVERS),
        auto.failure or number(auto.seconds),
        ratio(auto.seconds, best.seconds),
        *(small(error(t.result, truth)) if t.result is not None else "-" for t in (best, auto)),
    ]


def solve(problem: Problem, solver: str, rtol: float, n_cells: int) -> np.ndarray:
    calls = 0

    def field(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > CAP and solver == "tsit5":
            raise RuntimeError(f"stopped after {CAP} calls")
        return problem.torch(t, y)

    options = {"rtol": rtol, "atol": rtol * problem.scale, "jacobian": problem.jacobian}
    with torch.no_grad():
        return ours(field, problem.y0[:n_cells], problem.ts, solver=solver, **options)[:, -1].numpy()


def error(ends: np.ndarray, truth: np.ndarray) -> float:
    off = (ends[: len(truth)] - truth) / truth
    return float(np.median(np.sqrt((off**2).mean(axis=1))))


def notes() -> str:
    return (
        f"{N_CELLS} cells with initial values of their own, double precision, rtol {RTOL:g}, forward only, analytic "
        "Jacobian; linear + network is A y + MLP(y) of 20 states over [0, 1], the ratio that of its relaxation rates; "
        f"HIRES to 321.8, van der Pol (eps 1e-6) to 2. Medians of five, fewer for runs of seconds. {TIMING}tsit5 is "
        f"given up, a dash, after {CAP} calls. Errors are medians over {N_REFERENCE} cells, to rodas5p at 1e-10; the "
        "best error is that of the fastest of the three."
    )


if __name__ == "__main__":
    main()
