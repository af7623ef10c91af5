"""torchdiffeq, torchode and scnode behind one call: states (batch, time, state) at the times asked for."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch
import torchdiffeq
import torchode
from torch import Tensor, nn

from scnode import ode


def diffeq(
    field: nn.Module, y0: Tensor, ts: Tensor, *, solver: str = "dopri5", adjoint: bool = False, **options: Any
) -> Tensor:
    integrate = torchdiffeq.odeint_adjoint if adjoint else torchdiffeq.odeint
    return integrate(field, y0, ts, method=solver, **options).transpose(0, 1)


def torchode_solver(field: nn.Module, *, solver: str, rtol: float, atol: float) -> torchode.AutoDiffAdjoint:
    """With the gradient kept out of the step size control: torchode's default gave wrong gradients."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        term = torchode.ODETerm(field)
        step = {"dopri5": torchode.Dopri5, "tsit5": torchode.Tsit5}[solver](term=term)
        control = torchode.IntegralController(atol=atol, rtol=rtol, term=term)
        return torchode.AutoDiffAdjoint(step, control, backprop_through_step_size_control=False)


def ode_torch(field: nn.Module, y0: Tensor, ts: Tensor, *, solver: str, rtol: float, atol: float) -> Tensor:
    if ts.ndim == 1:
        ts = ts.expand(len(y0), -1)
    problem = torchode.InitialValueProblem(y0=y0, t_start=ts[:, 0], t_end=ts[:, -1], t_eval=ts)
    return torchode_solver(field, solver=solver, rtol=rtol, atol=atol).solve(problem).ys


def ours(field: nn.Module, y0: Tensor, ts: Tensor, **options: Any) -> Tensor:
    return ode.solve(field, y0, ts, **options).ys


def union(field: nn.Module, y0: Tensor, ts: Tensor, **options: Any) -> Tensor:
    """Own times for a solver with one clock: all cells at all times, of which each takes its own."""
    times, where = torch.unique(ts, return_inverse=True)
    ys = diffeq(field, y0, times, **options)
    return ys.gather(1, where.unsqueeze(-1).expand(-1, -1, y0.shape[1]))


def engine_is_there() -> bool:
    return "control" in inspect.signature(ode.solve).parameters
