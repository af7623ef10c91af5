"""Confine a flow to states on which chosen readouts keep their level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scnode._errors import ScnodeError
from scnode._rows import at_rows
from scnode.nn._readout import LinearReadout

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField
    from scnode.nn._readout import Readout

_RETURN = 10.0
"""Rate at which a flow comes back to the level, per unit of the clock."""

CLOSE = 1e-4
"""How far from its level a retracted state may be, in units of the readout."""

_MOST, _LAST = 80, 20
_ASLANT, _LOOSE = 0.05, 0.05


@dataclass(frozen=True)
class Hold:
    r"""Constraint :math:`g(z) = b(t)`, kept with the least change of the state and of its velocity.

    With the Jacobian :math:`G = \partial g/\partial z` and its pseudoinverse :math:`G^+` the flow

    .. math:: \dot z = f + G^+\big(\dot b - G f - \kappa\,(g(z) - b)\big)

    follows the level: :math:`g - b` decays at the rate :math:`\kappa = 10`, so that errors of a solver do not add up. A
    linear readout :math:`g(z) = Az + c` is the case of a constant Jacobian. Changes are measured in units of a spread
    :math:`L`, those :math:`\|L^{-1}\delta\|` of which are least: :math:`G^+ = L\,(GL)^+`.

    Parameters
    ----------
    readout
        :math:`g`, or a matrix :math:`A` (held, latent) for :math:`g(z) = Az`; rows of the Jacobian must be independent.
    level
        :math:`b`, shape (held,), or a smooth function of time that takes a scalar or a column (row, 1) and returns
        (held,) or (row, held).
    spread
        :math:`L`, a lower triangle (latent, latent), by default one. With :math:`LL^\top` the covariance of the cells
        the least change is the likeliest one, along directions in which cells vary.
    """

    readout: Readout | Tensor
    level: Tensor | Callable[[Tensor], Tensor]
    spread: Tensor | None = None

    @property
    def moves(self) -> bool:
        """Whether the level depends on time."""
        return callable(self.level)

    def confine(self, states: Tensor, t: Tensor | None = None) -> Tensor:
        r"""Nearest states that meet the constraint.

        From :math:`z_0` these are the fixed point of :math:`z = z_0 + G^+(z)\,(b - g(z) + G(z)(z - z_0))`, to which
        all change is across the level set: one step where the readout is linear, else Gauss-Newton with shorter steps
        where they overshoot, until each readout is within 1e-4 of its level.

        Parameters
        ----------
        states
            Shape (..., row, latent).
        t
            Time, for a level that moves.

        Raises
        ------
        ScnodeError
            States from which no state of this level is found.
        """
        found, gap = self._search(states, t)
        if not self._readout.linear and bool((gap.abs() > CLOSE).any()):
            raise ScnodeError(_unreached(self._at(t), gap))
        return found

    def reach(self, states: Tensor, t: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States as of :meth:`confine`, the nearest tried where none meets the constraint, and which do (..., row)."""
        found, gap = self._search(states, t)
        return found, (gap.abs() <= CLOSE).all(-1) | self._readout.linear

    def _search(self, states: Tensor, t: Tensor | None) -> tuple[Tensor, Tensor]:
        """States, and what each readout lacks of its level."""
        readout, level = self._readout, self._at(t)
        value, slope = readout.linearised(states)
        gap = level - value
        if readout.linear:
            return states + self._least(slope, gap), torch.zeros_like(gap)
        found, share, slide = states, torch.ones_like(states[..., :1]), torch.ones_like(states[..., :1])
        for step in range(_MOST):
            if step == _MOST - _LAST:
                share = torch.ones_like(share)
            # Beside the step onto the level set, the part of the way so far that runs along it is taken back.
            offset, miss = found - states, gap.abs().amax(-1, keepdim=True)
            along = offset - self._least(slope, _along(slope, offset))
            wide = self._size(along) > _ASLANT * self._size(offset)
            open_ = (miss > CLOSE) | (wide & (step < _MOST - _LAST))
            if not bool(open_.any()):
                break
            onto = share * self._least(slope, gap)
            trial = found + onto - (slide if step < _MOST - _LAST else 0) * along
            value, steep = readout.linearised(trial)
            better = open_ & ((level - value).abs().amax(-1, keepdim=True) < miss.clamp_min(_LOOSE))
            # Where the level set bends away from the start, a whole step along it would lead farther from there.
            better &= self._size(trial - states) <= self._size(offset) + self._size(onto)
            found, gap = torch.where(better, trial, found), torch.where(better, level - value, gap)
            slope = torch.where(better[..., None], steep, slope)
            share = torch.where(better, (2 * share).clamp(max=1.0), share / 2)
            slide = torch.where(better, (2 * slide).clamp(max=1.0), slide / 4)
        return found, gap

    def wrap(self, field: VectorField) -> VectorField:
        """The field along the constraint."""
        return _Held(self, field)

    def at_rows(self, rows: Tensor) -> Hold:
        """The constraint of some rows of states alone."""
        return Hold(at_rows(self._readout, rows), self.level, self.spread)

    def across(self, states: Tensor, noise: Tensor) -> Tensor:
        """Independent noises (..., latent) along the constraint, as a matrix (..., latent, noise)."""
        slope = self._readout.linearised(states)[1]
        part = _dual(slope, self.spread).mT @ slope
        same = torch.eye(noise.shape[-1], dtype=noise.dtype, device=noise.device)
        return (same - part) * noise.unsqueeze(-2)

    def _least(self, slope: Tensor, move: Tensor) -> Tensor:
        return least_change(slope, move, self.spread)

    def _size(self, change: Tensor) -> Tensor:
        if self.spread is not None:
            change = torch.linalg.solve_triangular(self.spread, change.unsqueeze(-1), upper=False).squeeze(-1)
        return change.norm(dim=-1, keepdim=True)

    @property
    def _readout(self) -> Readout:
        if isinstance(self.readout, torch.Tensor):
            return LinearReadout(self.readout, self.readout.new_zeros(len(self.readout)))
        return self.readout

    def _at(self, t: Tensor | None) -> Tensor:
        if not callable(self.level):
            return self.level
        return self.level(torch.zeros(()) if t is None else t)

    def _moving(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Level and its rate."""
        if not callable(self.level):
            return self.level, torch.zeros_like(like)
        further = torch.is_grad_enabled()
        with torch.enable_grad():
            at = t if t.requires_grad else t.detach().requires_grad_()
            level = self.level(at).to(like)
            sums = level.reshape(-1, level.shape[-1]).sum(0)
            rates = [_rate(one, at, further=further) for one in sums]
        rate = (torch.stack(rates, -1) if at.ndim == 0 else torch.cat(rates, -1)).to(like)
        return (level if further else level.detach()), rate


@dataclass(frozen=True)
class _Held:
    """A field along a constraint, which rows of states may have each their own of."""

    hold: Hold
    field: VectorField

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        velocity = self.field(t, y)
        value, slope = self.hold._readout.linearised(y)
        level, rate = self.hold._moving(t, value)
        gap = rate - _along(slope, velocity) - _RETURN * (value - level)
        return velocity + self.hold._least(slope, gap)

    def at_rows(self, rows: Tensor) -> _Held:
        return _Held(self.hold.at_rows(rows), at_rows(self.field, rows))


def _rate(value: Tensor, t: Tensor, *, further: bool) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(t)
    found = torch.autograd.grad(value, t, create_graph=further, retain_graph=True, allow_unused=True)[0]
    return torch.zeros_like(t) if found is None else found


def least_change(slope: Tensor, move: Tensor, spread: Tensor | None = None) -> Tensor:
    """Smallest changes of states (..., latent), by their spread, that move the readouts by `move` (..., held)."""
    dual = _dual(slope, spread)
    if dual.ndim == 2:
        return move @ dual
    return (move.unsqueeze(-1) * dual).sum(-2)


def _along(slope: Tensor, change: Tensor) -> Tensor:
    """How changes of states (..., latent) move their readouts."""
    return change @ slope.mT if slope.ndim == 2 else (slope * change.unsqueeze(-2)).sum(-1)


def _dual(slope: Tensor, spread: Tensor | None) -> Tensor:
    """Transpose of the pseudoinverse in units of a spread, shape of the slope."""
    wide = slope if spread is None else slope @ spread
    gram = wide @ wide.mT if slope.shape[-2] > 1 else wide.square().sum(-1, keepdim=True)
    dual = torch.linalg.solve(gram, wide) if slope.shape[-2] > 1 else wide / gram
    return dual if spread is None else dual @ spread.mT


def _unreached(level: Tensor, gap: Tensor) -> str:
    miss = gap.abs().amax(-1)
    far = miss > CLOSE
    worst = gap.reshape(-1, gap.shape[-1])[int(miss.argmax())]
    at = level.expand_as(gap).reshape(-1, gap.shape[-1])[int(miss.argmax())]
    return (
        f"From {int(far.sum())} of {far.numel()} states the decoder does not reach {at.tolist()}: the nearest found is "
        f"{(at - worst).tolist()}. Pass a level nearer to those of the cells, or fit with encoder='pca'."
    )
