"""Non-stiff training step: a network of 20-128-128-128-20 with tanh, 1024 cells, 16 times shared by all.

Asked: the least time and memory for the states and for the gradient of their mean square at rtol 1e-5 in single
precision, at the error of the tolerance, in both the states and the whole vector of parameter gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from _jax_peers import Diffrax, arrays, network
from _matrix import matrix_rate
from _measure import TENSORS, TIMING, Timing, race, tensor_peak
from _report import number, publish, ratio, small
from _torch_peers import diffeq, ode_torch
from _work import Plain, backward, fused, gradient, layers, relative, states
from torch import Tensor, nn

from scnode import ode

RTOL, ATOL = 1e-5, 1e-7
TOLERANCE: dict[str, Any] = {"rtol": RTOL, "atol": ATOL}
WEIGHTS = layers()
Y0, TS = states(1024), torch.linspace(0, 1, 16)
BASE = "torchdiffeq dopri5 backprop"
COLUMNS = [
    "solver",
    "forward s",
    "forward + gradient s",
    "over torchdiffeq backprop",
    "over its adjoint",
    "over diffrax, same method",
    "calls",
    "tensors MB",
    "state error",
    "gradient error",
]


def main() -> None:
    truth, true_gradient = reference()
    solves = {**torch_rows(), **our_rows()}
    compiled = {
        f"diffrax {s.lower()} RecursiveCheckpoint": Diffrax(network, TS.numpy(), solver=s) for s in ("Dopri5", "Tsit5")
    }
    jax_weights, jax_y0 = arrays(WEIGHTS), Y0.numpy()
    forward = race(
        {name: partial(without_gradient, field, solve) for name, (field, solve) in solves.items()}
        | {name: partial(d.run, jax_weights, jax_y0, **TOLERANCE) for name, d in compiled.items()}
    )
    both = race(
        {name: partial(with_gradient, field, solve) for name, (field, solve) in solves.items()}
        | {name: partial(d.run_gradient, jax_weights, jax_y0, **TOLERANCE) for name, d in compiled.items()}
    )
    needs = {name: tensor_peak(partial(with_gradient, field, solve)) for name, (field, solve) in solves.items()}
    needs |= {name: d.temporary(jax_weights, jax_y0, **TOLERANCE) for name, d in compiled.items()}
    rows = [
        [
            name,
            number(forward[name].seconds),
            timing.failure or number(timing.seconds),
            *ratios(both, name),
            calls(forward[name], compiled.get(name)),
            number(needs[name], 2),
            *errors(timing, truth, true_gradient),
        ]
        for name, timing in both.items()
    ]
    rows.append(limit(forward[BASE].result[1]))
    publish(__file__, "A non-stiff training step", COLUMNS, rows, notes())


def torch_rows() -> dict[str, tuple[nn.Module, Callable[[nn.Module], tuple[Tensor, int]]]]:
    """Field and solve of the peers in torch; a solve returns states and calls, the latter counted by `Plain`."""

    def peer(integrate: Callable[..., Tensor], **more: Any) -> Callable[[nn.Module], tuple[Tensor, int]]:
        def solve(field: nn.Module) -> tuple[Tensor, int]:
            before = getattr(field, "calls", 0)
            ys = integrate(field, Y0, TS, **TOLERANCE, **more)
            return ys, getattr(field, "calls", 0) - before

        return solve

    return {
        BASE: (Plain(WEIGHTS), peer(diffeq)),
        "torchdiffeq dopri5 odeint_adjoint": (Plain(WEIGHTS), peer(diffeq, adjoint=True)),
        "torchdiffeq dopri5 backprop, MLPField": (fused(WEIGHTS), peer(diffeq)),
        "torchode dopri5": (Plain(WEIGHTS), peer(ode_torch, solver="dopri5")),
        "torchode tsit5": (Plain(WEIGHTS), peer(ode_torch, solver="tsit5")),
    }


def our_rows() -> dict[str, tuple[nn.Module, Callable[[nn.Module], tuple[Tensor, int]]]]:
    def mine(**options: Any) -> Callable[[nn.Module], tuple[Tensor, int]]:
        def solve(field: nn.Module) -> tuple[Tensor, int]:
            solution = ode.solve(field, Y0, TS, **(TOLERANCE | options))
            return solution.ys, solution.stats.n_calls

        return solve

    fields = {"MLPField": fused, "plain field": Plain}
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("dopri5", "MLPField", {}),
        ("dopri5", "plain field", {}),
        ("tsit5", "MLPField", {}),
        ("dopri5", "MLPField", {"rtol": 2 * RTOL, "atol": 2 * ATOL}),
        ("dopri5", "MLPField", {"control": "shared"}),
    ]
    rows = {}
    for solver, field, more in kinds:
        for way in ("backprop", "checkpointed"):
            label = "".join(f", {key} {value}" for key, value in more.items() if key != "atol")
            rows[f"scnode {solver} {way}, {field}{label}"] = (
                fields[field](WEIGHTS),
                mine(solver=solver, gradient=way, **more),
            )
    return rows


def without_gradient(field: nn.Module, solve: Callable[[nn.Module], tuple[Tensor, int]]) -> tuple[Tensor, int]:
    with torch.no_grad():
        return solve(field)


def with_gradient(field: nn.Module, solve: Callable[[nn.Module], tuple[Tensor, int]]) -> tuple[Tensor, np.ndarray]:
    return backward(field, solve(field)[0])


def reference() -> tuple[Tensor, np.ndarray]:
    """States and gradient by dopri8 at 1e-11 in double precision, in parts to fit in memory."""
    field = Plain(WEIGHTS, torch.float64)
    parts = []
    for part in Y0.double().split(64):
        ys = diffeq(field, part, TS.double(), solver="dopri8", rtol=1e-11, atol=1e-11)
        (ys.square().mean() * (len(part) / len(Y0))).backward()
        parts.append(ys.detach())
    return torch.cat(parts), gradient(field)


def limit(n_calls: int) -> list[str]:
    """The matrix products alone: one forward pass a call, and twice as much for the gradient."""
    once = 2 * len(Y0) * sum(weight.size for weight, _ in WEIGHTS) * n_calls / matrix_rate()
    name = f"matrix products of {n_calls} calls at this machine's best rate"
    return [name, number(once), number(3 * once), *["-"] * (len(COLUMNS) - 3)]


def ratios(both: dict[str, Timing], name: str) -> list[str]:
    seconds, method = both[name].seconds, "dopri5" if "dopri5" in name else "tsit5"
    to = (BASE, "torchdiffeq dopri5 odeint_adjoint", f"diffrax {method} RecursiveCheckpoint")
    return [ratio(seconds, both[t].seconds) for t in to]


def calls(timing: Timing, diffrax: Diffrax | None) -> str:
    if timing.result is None or not timing.result[1]:
        return "-"
    return str(6 * timing.result[1] + 2 if diffrax else timing.result[1])


def errors(timing: Timing, truth: Tensor, true_gradient: np.ndarray) -> list[str]:
    if timing.result is None:
        return ["-", "-"]
    ys, grads = timing.result
    return [small(relative(ys, truth)), small(relative(grads, true_gradient))]


def notes() -> str:
    return (
        f"Network 20-128-128-128-20 with tanh, weights and biases as nn.Linear draws them times 3.5, which carries a "
        f"state 1.3 times its own length; 1024 standard normal states, 16 shared times on [0, 1], single precision, "
        f"rtol {RTOL:g}, atol {ATOL:g}; loss: mean square of all states. Medians of five. {TIMING}{TENSORS}For "
        "diffrax it is the temporaries that XLA plans. Errors are relative norms, over all states and over the whole "
        "vector of parameter gradients, to dopri8 at 1e-11 in double precision. `MLPField` is scnode's field, `plain "
        "field` the nn.Sequential that the peers run. scnode holds every cell to the tolerance, with steps of its own "
        "or, where it says shared, with the steps of the worst; torchdiffeq and the joint system of diffrax hold the "
        "root mean square over all cells to it, so at the same rtol their errors are larger. The rows at rtol 2e-05 "
        "are for reading at about equal error. Calls are those of the forward solve, each on the cells still "
        "underway, for diffrax 6 a step and 2 for the first step. The last row is what no solver with as many calls "
        "as torchdiffeq can go below on this machine."
    )


if __name__ == "__main__":
    main()
