"""How an ensemble moves states: side by side, under constraints in turn, with or without noise."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from scnode import ode
from scnode._errors import ScnodeError
from scnode._rows import at_rows
from scnode.nn import side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from scnode._typing import VectorField
    from scnode.nn import Diffusion, Field, Hold, Regimen


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
        return [self._piece(start) for start in self._starts]

    def slopes(self) -> list[VectorField]:
        """Jacobians of the pieces of the mean without a constraint, (row, latent, latent)."""
        return [self._slope(start) for start in self._starts]

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

    def shake(self, start: Tensor, ts: Tensor, diffusion: Diffusion, **options: Any) -> Tensor:
        """Noisy trajectories (row, time, member * latent) of (member, row), by :func:`scnode.ode.solve_sde`."""
        members, breaks, starts = max(self.n_samples, 1), self.breaks.to(ts), self._starts
        edges = torch.cat([ts[:1], breaks[(breaks > ts[0]) & (breaks < ts[-1])], ts[-1:]])
        state = start.repeat(members, 1)
        found = [state]
        for begin, end in itertools.pairwise(edges):
            began = starts[int((breaks <= begin).sum())]
            drift, spread = self._noisy(began, diffusion)
            slope = None if self.n_samples else self._slope(began)
            leg = torch.cat([begin[None], ts[(ts > begin) & (ts < end)], end[None]])
            ys = ode.solve_sde(drift, spread, state, leg, jacobian=slope, **options).ys[:, 0]
            state = ys[:, -1]
            if bool((self.regimen.breaks.to(ts) == end).any()):
                state = self.regimen.confine(state.unflatten(0, (members, -1)), end).flatten(0, 1)
            found += ys[:, 1:-1].unbind(1)
            if bool((ts == end).any()):
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
    def _starts(self) -> list[float]:
        return [-torch.inf, *self.breaks.tolist()]

    @property
    def _control_breaks(self) -> Tensor:
        breaks, own = self.field.pieces()[0].double(), self.field.input_origin
        if self.origin is None or not len(breaks):
            return breaks
        # Where the input counts from the start of each cell, so do its breaks.
        since = self.origin if own is None else self.origin - own
        return breaks - since.double().reshape(-1)[:1]

    def _at(self, start: float) -> Field:
        return self.field.pieces()[1][int((self._control_breaks <= start).sum())]

    def _slope(self, start: float) -> VectorField:
        return _later(self._at(start).jacobian, self.origin)

    def _piece(self, start: float) -> VectorField:
        field = self._at(start)
        one = _later(field if self.n_samples else field.mean, self.origin)
        hold = self._hold(start)
        return one if hold is None else hold.wrap(one)

    def _hold(self, start: float) -> Hold | None:
        return self.regimen.holds[int((self.regimen.breaks <= start).sum())]

    def _jump(self, at: Tensor) -> Callable[[Tensor], Tensor]:
        apart = max(self.n_samples, 1)

        def jump(states: Tensor) -> Tensor:
            rows = states.unflatten(1, (apart, -1)).transpose(0, 1)
            return self.regimen.confine(rows, at.to(states)).transpose(0, 1).flatten(1)

        return jump

    def _noisy(self, start: float, diffusion: Diffusion) -> tuple[VectorField, VectorField]:
        """Drift and diffusion of rows (member * row, latent)."""
        field, members = self._piece(start), max(self.n_samples, 1)
        hold = self._hold(start)

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


def _later(field: VectorField, origin: Tensor | None) -> VectorField:
    return field if origin is None else _Later(field, origin)


@dataclass(frozen=True)
class _Later:
    """A field whose time counts from an origin, a scalar or a column (row, 1)."""

    field: VectorField
    origin: Tensor

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        return self.field(t + self.origin, y)

    def at_rows(self, rows: Tensor) -> _Later:
        return _Later(at_rows(self.field, rows), at_rows(self.origin, rows))
