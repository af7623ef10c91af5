"""Stiff solves: four problems of 256 cells with initial values of their own, double precision, forward only.

Asked: the least time to a median error of 1e-3, 1e-5 and 1e-7, whatever tolerance a solver needs for it.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from _jax_peers import Diffrax, double
from _measure import TIMING, Timing, attempt, race
from _report import number, publish, ratio
from _stiff_work import Problem, problems
from _torch_peers import diffeq, ours
from scipy.integrate import solve_ivp
from torch import Tensor

N_CELLS, N_REFERENCE, N_SCIPY = 256, 64, 4
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
LEVELS = (1e-3, 1e-5, 1e-7)
CAP, MOST_STEPS, PATIENCE = 3000, 20_000, 3.0
SCIPY, DIFFRAX = ("scipy BDF", "scipy Radau"), ("diffrax Kvaerno3", "diffrax Kvaerno5", "diffrax Kvaerno5, PI")
COLUMNS = [
    "problem",
    "solver",
    *(f"s to {level:.0e}" for level in LEVELS),
    "better scipy over it",
    "better diffrax over it",
    "median errors at rtol 1e-2, 1e-3, ...",
]
Solve = Callable[[float], np.ndarray]


def main() -> None:
    double()
    rows = []
    for problem in problems(N_CELLS):
        rows += table(problem)
        sys.stderr.write(f"{problem.name} done\n")
    publish(__file__, "Stiff solves at equal error", COLUMNS, rows, notes())


def table(problem: Problem) -> list[list[str]]:
    truth = looped(problem, "LSODA", N_REFERENCE, 1e-12)
    solves = solvers(problem)
    measured = sweep(solves, truth)
    reached = {name: [time_to(level, measured[name]) for level in LEVELS] for name in solves}
    rivals = [[min(reached[n][k] for n in group if n in reached) for k in range(len(LEVELS))]
              for group in (SCIPY, DIFFRAX)]  # fmt: skip
    rows = []
    for name in solves:
        times = reached[name]
        against = [" / ".join(ratio(b, t) for b, t in zip(best, times, strict=True)) for best in rivals]
        errors = " ".join(f"{error:.0e}" for error, _ in measured[name]) or "failed"
        rows.append([problem.name, name, *(number(t) for t in times), *against, errors])
    return rows + [[problem.name, name, timing.failure, *["-"] * 5] for name, timing in explicit(problem).items()]


def solvers(problem: Problem) -> dict[str, Solve]:
    rows: dict[str, Solve] = {}
    for solver in ("rodas5p", "radau5"):
        rows[f"scnode {solver}"] = partial(scnode_ends, problem, solver)
    for name in ("BDF", "Radau", "LSODA"):
        rows[f"scipy {name}"] = partial(looped, problem, name, N_SCIPY)
    for name in DIFFRAX:
        controller = {"pcoeff": 0.3, "icoeff": 0.3} if name.endswith("PI") else None
        compiled = Diffrax(
            lambda _, y: problem.jax(y),
            problem.ts.numpy(),
            solver=name.split()[1].rstrip(","),
            controller=controller,
            single=True,
            max_steps=MOST_STEPS,
            dt0=problem.first_step,
        )
        rows[name] = partial(jax_ends, problem, compiled)
        attempt(partial(rows[name], TOLERANCES[0]))  # compiles it
    return rows


def scnode_ends(problem: Problem, solver: str, rtol: float) -> np.ndarray:
    options = {"rtol": rtol, "atol": rtol * problem.scale, "jacobian": problem.jacobian}
    with torch.no_grad():
        return ours(problem.torch, problem.y0, problem.ts, solver=solver, **options)[:, -1].numpy()


def jax_ends(problem: Problem, compiled: Diffrax, rtol: float) -> np.ndarray:
    return compiled.run(None, problem.y0.numpy(), rtol=rtol, atol=rtol * problem.scale)[0][:, -1]


def looped(problem: Problem, method: str, n_cells: int, rtol: float) -> np.ndarray:
    """scipy, cell after cell."""
    options = {"method": method, "rtol": rtol, "atol": rtol * problem.scale, "jac": problem.numpy_jacobian}
    starts = problem.y0[:n_cells].numpy()
    return np.stack([solve_ivp(problem.numpy, (0.0, problem.end), y, **options).y[:, -1] for y in starts])


def sweep(solves: Mapping[str, Solve], truth: np.ndarray) -> dict[str, list[tuple[float, float]]]:
    """Median error and seconds of every solver, loosest tolerance first, until the last level is reached."""
    first: dict[tuple[str, float], Timing] = {}
    for name, solve in solves.items():
        for rtol in TOLERANCES:
            once = attempt(partial(solve, rtol))
            if once.failure:
                break
            first[name, rtol] = once
            if median_error(once.result, truth) < LEVELS[-1] or once.seconds > PATIENCE:
                break
    runs = {(name, rtol): partial(solves[name], rtol) for name, rtol in first}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in solves}
    for key, timing in race(runs, repeats=3, budget=PATIENCE, first=first).items():
        scale = N_CELLS / len(timing.result)
        found[key[0]].append((median_error(timing.result, truth), scale * timing.seconds))
    return found


def median_error(ends: np.ndarray, truth: np.ndarray) -> float:
    """Over the cells that both have: the root mean square of the relative errors of a cell's components."""
    n = min(len(ends), len(truth))
    off = (ends[:n] - truth[:n]) / truth[:n]
    return float(np.median(np.sqrt((off**2).mean(axis=1))))


def time_to(level: float, measured: list[tuple[float, float]]) -> float:
    """Least time at no more than this error, log-log interpolated between neighbouring tolerances."""
    times = [seconds for error, seconds in measured if error <= level]
    for (loose, a), (tight, b) in itertools.pairwise(measured):
        if tight <= level < loose:
            share = math.log(loose / level) / math.log(loose / tight)
            times.append(a ** (1 - share) * b**share)
    return min(times, default=float("inf"))


class Capped:
    """A field that stops the solve after `CAP` calls, and says how far it came."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.calls, self.start = problem, 0, Timing()

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > CAP:
            share = float(torch.as_tensor(t).min()) / self.problem.end
            raise RuntimeError(f"{CAP} calls, {100 * share:.2g} % of the interval")
        return self.problem.torch(t, y)


def explicit(problem: Problem) -> dict[str, Timing]:
    def run(integrate: Callable[..., Tensor], solver: str) -> Timing:
        options: dict[str, Any] = {"solver": solver, "rtol": 1e-4, "atol": 1e-4 * problem.scale}
        with torch.no_grad():
            timing = attempt(lambda: integrate(Capped(problem), problem.y0, problem.ts, **options))
        return timing if timing.failure else Timing(failure=f"{number(timing.seconds)} s at rtol 1e-4")

    return {"torchdiffeq dopri5": run(diffeq, "dopri5"), "scnode tsit5": run(ours, "tsit5")}


def notes() -> str:
    return (
        f"{N_CELLS} cells with initial values of their own, double precision, analytic Jacobian for scnode and scipy; "
        "linear + network is A y + MLP(y) of 20 states with relaxation rates from 1 to 1e4 over [0, 1]; Robertson to "
        "1e4, HIRES to 321.8, van der Pol in the scaled form with eps 1e-6 to 2. Seconds for all cells to a median "
        "error (root mean square of the relative errors of a cell's components at the end), log-log interpolated "
        f"between tolerances from 1e-2 down; a solver goes on to the next tolerance until a run takes {PATIENCE:g} s. "
        f"The truth is LSODA at 1e-12 on {N_REFERENCE} cells. Median of three runs each, fewer for runs of seconds. "
        f"{TIMING}scipy solves cell after cell on plain floats: {N_SCIPY} cells, scaled to {N_CELLS}; better scipy is "
        "the better of BDF and Radau. diffrax is vmapped and compiled, with its Jacobian by forward mode, PI with "
        "pcoeff = icoeff = 0.3; on van der Pol it is told to start with a step of 1e-7, as Kvaerno5 does not recover "
        f"from its own guess. Explicit solvers are stopped after {CAP} calls."
    )


if __name__ == "__main__":
    main()
