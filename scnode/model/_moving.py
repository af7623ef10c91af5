"""How an ensemble moves states: side by side, under constraints in turn, with or without noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from scnode import ode
from scnode._errors import ScnodeError
from scnode.nn import ControlledField, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from scnode._typing import VectorField
    from scnode.nn import Diffusion, Field, Regimen

_NOISE_STEPS = 40


@dataclass(frozen=True)
class Moving:
    """A field, where it is held, and when that changes.

    Parameters
    ----------
    field
        The field under its input.
    regimen
        What is held when, in time since the start.
    n_samples
        How many members move, 0 for their mean.
    origin
        Time of the start on the clock of the field, a scalar or a column (start, 1): what the time since is added to.
    """

    field: Field
    regimen: Regimen
    n_samples: int
    origin: Tensor | None

    @property
    def breaks(self) -> Tensor:
        """Times at which the input or a constraint changes, increasing."""
        return torch.cat([self._control_breaks, self.regimen.breaks.to(self._control_breaks)]).unique()

    def pieces(self) -> list[VectorField]:
        """The field before, between and after the breaks, on (member, row, latent) or, of the mean, (row, latent)."""
        starts = [-torch.inf, *self.breaks.tolist()]
        return [self._piece(start) for start in starts]

    def jumps(self) -> list[Callable[[Tensor], Tensor]]:
        """What becomes of the states (row, member * latent) at every break."""
        return [self._jump(at) for at in self.breaks]

    def solve(self, start: Tensor, ts: Tensor, options: dict[str, Any]) -> Tensor:
        """Trajectories (row, time, member * latent)."""
        apart = max(self.n_samples, 1)
        fields = [side_by_side(piece, apart) if self.n_samples else piece for piece in self.pieces()]
        if len(self.regimen.breaks):
            options = {"jumps": self.jumps()} | options
        return ode.solve_pieces(fields, self.breaks, start.repeat(1, apart), ts, **options).ys

    def shake(self, start: Tensor, ts: Tensor, diffusion: Diffusion, noise: ode.BrownianPath) -> Tensor:
        """Noisy trajectories (row, time, member * latent), along Brownian paths of (member, row), in fixed steps."""
        members, edges = max(self.n_samples, 1), torch.unique(torch.cat([ts, self.breaks.to(ts)]))
        edges = edges[(edges >= ts[0]) & (edges <= ts[-1])]
        state, found = start.repeat(members, 1), []
        fields = self.pieces()
        step = float(ts[-1] - ts[0]) / _NOISE_STEPS
        for place in range(len(edges)):
            if place:
                leg, number = edges[place - 1 : place + 1], int((self.breaks.to(ts) <= edges[place - 1]).sum())
                drift, spread = self._noisy(fields[number], diffusion, leg[0])
                options: dict[str, Any] = {"solver": "euler_maruyama", "step": step, "brownian": noise}
                state = ode.solve_sde(drift, spread, state, leg, **options).ys[:, 0, -1]
                if bool((self.regimen.breaks.to(ts) == edges[place]).any()):
                    apart = state.unflatten(0, (members, -1))
                    state = self.regimen.confine(apart, edges[place]).flatten(0, 1)
            if bool((ts == edges[place]).any()):
                found.append(state)
        return torch.stack(found, 1).unflatten(0, (members, -1)).permute(1, 2, 0, 3).flatten(2)

    def retract(self, ys: Tensor, ts: Tensor) -> Tensor:
        """Trajectories (row, time, member * latent) with what a solver strays from the constraints taken out."""
        if all(hold is None for hold in self.regimen.holds):
            return ys
        apart = ys.unflatten(2, (max(self.n_samples, 1), -1)).permute(1, 2, 0, 3)
        kept = [self.regimen.confine(states, t) for t, states in zip(ts, apart, strict=True)]
        return torch.stack(kept).permute(2, 0, 1, 3).flatten(2)

    @property
    def fields(self) -> list[Field]:
        """The field before, between and after the breaks of its input, free of constraints."""
        return [*self.field.pieces()[1]] if isinstance(self.field, ControlledField) else [self.field]

    @property
    def _control_breaks(self) -> Tensor:
        if not isinstance(self.field, ControlledField):
            return torch.zeros(0, dtype=torch.float64)
        breaks = self.field.pieces()[0].double()
        return breaks if self.origin is None or not len(breaks) else breaks - self.origin.double()

    def _piece(self, start: float) -> VectorField:
        field = self.fields[int((self._control_breaks <= start).sum())]
        one: VectorField = field if self.n_samples else field.mean
        one = one if self.origin is None else _later(one, self.origin)
        hold = self.regimen.holds[int((self.regimen.breaks <= start).sum())]
        return one if hold is None else hold.wrap(one)

    def _jump(self, at: Tensor) -> Callable[[Tensor], Tensor]:
        apart = max(self.n_samples, 1)

        def jump(states: Tensor) -> Tensor:
            rows = states.unflatten(1, (apart, -1)).transpose(0, 1)
            return self.regimen.confine(rows, at.to(states)).transpose(0, 1).flatten(1)

        return jump

    def _noisy(self, field: VectorField, diffusion: Diffusion, start: Tensor) -> tuple[VectorField, VectorField]:
        """Drift and diffusion of rows (member * row, latent)."""
        members, hold = max(self.n_samples, 1), self.regimen.at(start)

        def drift(t: Tensor, y: Tensor) -> Tensor:
            apart = y.unflatten(0, (members, -1))
            return (field(t, apart) if self.n_samples else field(t, y).unsqueeze(0)).flatten(0, 1)

        def spread(t: Tensor, y: Tensor) -> Tensor:
            noise = diffusion(t, y)
            if hold is None:
                return noise
            return hold.across(y.unflatten(0, (members, -1)), noise.unflatten(0, (members, -1))).flatten(0, 1)

        return drift, spread


def since(ts: Tensor) -> Tensor:
    """Times (time,) since the start, the same for all starts, of times (time,) or (start, time).

    Raises
    ------
    ScnodeError
        Starts that ask for other times than the rest.
    """
    elapsed = ts - ts[..., :1]
    if elapsed.ndim == 1:
        return elapsed
    if not torch.allclose(elapsed, elapsed[:1].expand_as(elapsed), atol=1e-5):
        raise ScnodeError("A schedule counts from the start. Pass every start the same times since then.")
    return elapsed[0]


def _later(field: VectorField, origin: Tensor) -> VectorField:
    return lambda t, y: field(t + origin, y)
