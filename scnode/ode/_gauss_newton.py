"""The Levenberg-Marquardt method on the residuals of solved trajectories, with exact sensitivities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from scnode._errors import SolverError
from scnode.ode._solve import solve

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.ode._observed import Observed

_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-12, 1e8


class _Flat(torch.nn.Module):
    """A field as a function of one vector, so that its sensitivities come in a known order."""

    def __init__(self, field: torch.nn.Module, flat: Tensor) -> None:
        super().__init__()
        # In a tuple, beside the registry: the field's own parameters are replaced by parts of the vector.
        self.field = (field,)
        self.sizes = {name: p.shape for name, p in field.named_parameters() if p.requires_grad}
        self.flat = torch.nn.Parameter(flat)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Velocity."""
        parts = self.flat.split([size.numel() for size in self.sizes.values()])
        own = {name: part.view(size) for (name, size), part in zip(self.sizes.items(), parts, strict=True)}
        return torch.func.functional_call(self.field[0], own, (t, y))


@dataclass(frozen=True)
class _Point:
    """Parameters and starts, the residuals there, and their derivatives by both (residual, input)."""

    flat: Tensor
    y0: Tensor
    residual: Tensor
    slopes: Tensor

    @property
    def loss(self) -> float:
        return float(self.residual.square().mean())


def gauss_newton(
    field: torch.nn.Module,
    observed: Observed,
    *,
    free_start: bool,
    max_iterations: int,
    tolerance: float,
    options: dict[str, Any],
) -> tuple[Tensor, int, int]:
    """Fit in place; returns the starts, and how many steps and solves it took."""
    parameters = [p for p in field.parameters() if p.requires_grad]
    flat = torch.nn.utils.parameters_to_vector(parameters).detach().clone()
    here = _evaluate(field, observed, flat, observed.ys[:, 0], free_start=free_start, options=options)
    damping, n_steps, n_solves = _DAMPING, 0, 1
    # Below its tolerance a solve moves by chance.
    while n_steps < max_iterations and damping < _MOST_DAMPING and here.loss > options["rtol"] ** 2:
        along, shift = _step(here, damping).split((len(flat), here.slopes.shape[1] - len(flat)))
        y0 = here.y0 + shift.view_as(here.y0) if free_start else here.y0
        n_solves += 1
        try:
            there = _evaluate(field, observed, here.flat + along, y0, free_start=free_start, options=options)
        except SolverError:
            # The step led where a trajectory cannot be solved, and was too long.
            there = None
        if there is None or not there.loss < here.loss:
            damping *= 10
            continue
        gain, here = 1 - there.loss / here.loss, there
        damping, n_steps = max(damping / 10, _LEAST_DAMPING), n_steps + 1
        if gain < tolerance:
            break
    torch.nn.utils.vector_to_parameters(here.flat, parameters)
    return here.y0, n_steps, n_solves


def _evaluate(
    field: torch.nn.Module, observed: Observed, flat: Tensor, y0: Tensor, *, free_start: bool, options: dict[str, Any]
) -> _Point:
    found = solve(_Flat(field, flat), y0, observed.ts, **options | {"gradient": "forward"})
    assert found.sensitivity is not None  # asked for
    slopes = _columns(found.sensitivity.double() / observed.unit[:, None], free_start=free_start)
    return _Point(flat, y0, observed.residual(found.ys.detach()).double().flatten(), slopes.flatten(0, 2))


def _columns(sensitivity: Tensor, *, free_start: bool) -> Tensor:
    """Derivatives by the parameters, then by the start of every trajectory, which moves that one alone."""
    batch, _, n_states, n_inputs = sensitivity.shape
    of_start, of_field = sensitivity.split((n_states, n_inputs - n_states), 3)
    if not free_start:
        return of_field
    own = torch.eye(batch, dtype=sensitivity.dtype, device=sensitivity.device)
    return torch.cat((of_field, torch.einsum("btsj,bc->btscj", of_start, own).flatten(3)), 3)


def _step(at: _Point, damping: float) -> Tensor:
    """Least squares, damped in units of each column: scales of parameters play no role."""
    size = torch.linalg.vector_norm(at.slopes, dim=0)
    # What nothing depends on stays.
    size = torch.where(size > 0, size, torch.inf)
    design = at.slopes / size
    normal = design.T @ design + damping * torch.eye(len(size), dtype=size.dtype, device=size.device)
    return (torch.linalg.solve(normal, design.T @ -at.residual) / size).to(at.flat.dtype)
