"""Measures of the field per second: Jacobians and finite-time Lyapunov exponents, one core, single precision.

Asked: Jacobians at 60 % and more of the rate at which this machine multiplies matrices, counting the operations of
the cheaper side of the chain of layers; FTLE likewise, beside finite differences and differentiation of the flow.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from _matrix import matrix_rate
from _measure import TIMING, race
from _report import number, publish, small
from _torch_peers import diffeq
from _work import Plain, fused, layers, relative, states
from torch import Tensor

from scnode import ode

WEIGHTS = layers()
N_JACOBIAN, N_FTLE, HORIZON = 4096, 1024, 1.0
CHAIN = 2 * (128 * 128 * 20 * 2 + 128 * 20 * 20)  # operations of a Jacobian, from the output's side
FORWARD = 2 * (128 * 128 * 2 + 128 * 20 * 2)
COLUMNS = ["measure", "way", "cells per second", "of the matrix-product rate", "over the next best", "error"]


def main() -> None:
    peak = matrix_rate()
    rows = [["matrix product", "best of sizes and libraries", "-", f"{peak / 1e9:.0f} GFLOP/s", "-", "-"]]
    publish(__file__, "Measures of the field", COLUMNS, rows + jacobians(peak) + exponents(peak), notes())


def jacobians(peak: float) -> list[list[str]]:
    plain, mine, y = Plain(WEIGHTS), fused(WEIGHTS), states(N_JACOBIAN)
    exact = Plain(WEIGHTS, torch.float64)
    truth = sweeps(exact, y[:64].double())
    runs = {
        "scnode ode.jacobian": lambda: ode.jacobian(mine, y),
        "torch.func vmap(jacrev)": lambda: in_parts(by_vmap(plain), y, 256),
        "autograd, a sweep per output": lambda: sweeps(plain, y),
        "central differences": lambda: in_parts(partial(differences, plain), y, 256),
    }
    timed = race(runs)
    others = max(N_JACOBIAN / t.seconds for name, t in timed.items() if not name.startswith("scnode"))
    rows = []
    for name, timing in timed.items():
        rate = N_JACOBIAN / timing.seconds
        share = f"{100 * rate * CHAIN / peak:.0f} %"
        off = relative(timing.result[:64], truth) if timing.result is not None else float("nan")
        rows.append(["Jacobian", name, f"{rate:.0f}", share, f"{number(rate / others)}x", small(off)])
    return rows


def in_parts(measure: Callable[[Tensor], Tensor], y: Tensor, size: int) -> Tensor:
    return torch.cat([measure(part).detach() for part in y.split(size)])


def by_vmap(field: Plain) -> Callable[[Tensor], Tensor]:
    return torch.func.vmap(torch.func.jacrev(field.net))


def sweeps(field: Plain, y: Tensor) -> Tensor:
    y = y.detach().requires_grad_()
    value = field(torch.zeros(()), y)
    rows = [torch.autograd.grad(value[:, i].sum(), y, retain_graph=True)[0] for i in range(value.shape[1])]
    return torch.stack(rows, dim=1).detach()


@torch.no_grad()
def differences(field: Plain, y: Tensor, eps: float = 1e-2) -> Tensor:
    shift = eps * torch.eye(y.shape[1], dtype=y.dtype)
    ends = [field.net((y.unsqueeze(1) + s * shift).flatten(0, 1)).unflatten(0, (len(y), -1)) for s in (1, -1)]
    return ((ends[0] - ends[1]) / (2 * eps)).transpose(1, 2)


class Counted(torch.nn.Module):
    """scnode's field with the states counted at which it is asked for its Jacobian."""

    def __init__(self) -> None:
        super().__init__()
        self.field, self.n_states = fused(WEIGHTS), 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.field(t, y)

    def jacobian(self, t: Tensor, y: Tensor) -> Tensor:
        self.n_states += len(y)
        return self.field.jacobian(t, y)


def exponents(peak: float) -> list[list[str]]:
    plain, mine, y = Plain(WEIGHTS), fused(WEIGHTS), states(N_FTLE)
    counted = Counted()
    ode.ftle(counted, y, HORIZON)
    operations = counted.n_states * (CHAIN + FORWARD) / N_FTLE
    truth = exponent(flow_map(Plain(WEIGHTS, torch.float64), y.double(), 100))
    runs = {
        "scnode ode.ftle": lambda: ode.ftle(mine, y, HORIZON),
        "torch.func vmap(jacrev) of 20 steps of rk4": lambda: exponent(flow_map(plain, y, 20)),
        "finite differences of the flow, torchdiffeq dopri5": lambda: flow_differences(plain, y),
    }
    timed = race(runs)
    others = max(N_FTLE / t.seconds for name, t in timed.items() if not name.startswith("scnode"))
    rows = []
    for name, timing in timed.items():
        rate = N_FTLE / timing.seconds
        off = relative(timing.result, truth) if timing.result is not None else float("nan")
        share = f"{100 * rate * operations / peak:.0f} %" if name.startswith("scnode") else "-"
        rows.append(["FTLE", name, f"{rate:.0f}", share, f"{number(rate / others)}x", small(off)])
    return rows


def exponent(maps: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(maps, ord=2).log() / HORIZON


@torch.no_grad()
def flow_map(field: Plain, y: Tensor, n: int) -> Tensor:
    h = HORIZON / n

    def flow(y: Tensor) -> Tensor:
        for _ in range(n):
            a = field.net(y)
            b = field.net(y + h / 2 * a)
            c = field.net(y + h / 2 * b)
            y = y + h / 6 * (a + 2 * b + 2 * c + field.net(y + h * c))
        return y

    return torch.func.vmap(torch.func.jacrev(flow))(y)


@torch.no_grad()
def flow_differences(field: Plain, y: Tensor, eps: float = 1e-3) -> Tensor:
    shift = eps * torch.eye(y.shape[1])
    around = torch.cat([(y.unsqueeze(1) + s * shift).flatten(0, 1) for s in (1, -1)])
    ends = diffeq(field, around, torch.tensor([0.0, HORIZON]), rtol=1e-4, atol=1e-6)[:, -1]
    up, down = ends.unflatten(0, (2, len(y), -1))
    return exponent(((up - down) / (2 * eps)).transpose(1, 2))


def notes() -> str:
    return (
        f"Network 20-128-128-128-20 with tanh, weights as nn.Linear draws them times 3.5, single precision; "
        f"{N_JACOBIAN} states for Jacobians, {N_FTLE} for FTLE over a horizon of {HORIZON:g} at rtol 1e-4. Medians of "
        f"five. {TIMING}A Jacobian counts {CHAIN:,} operations: the product of the layers' matrices from the output's "
        "side, without the forward pass; FTLE counts a Jacobian and a forward pass for every evaluation. vmap and "
        "differences take 256 cells at a time, which is fastest for them. Errors are relative norms to double "
        "precision, for FTLE to the derivative of 100 steps of rk4."
    )


if __name__ == "__main__":
    main()
