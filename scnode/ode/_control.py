"""Error norms and step sizes, one per trajectory or one for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.ode._step import Start, Step, System

_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 8.0
_BETA = 0.04


@dataclass(frozen=True)
class Control:
    r"""Keep :math:`\sqrt{\mathrm{mean}_i (e_i / (a + r \max(|y_i|, |y^1_i|)))^2} \le 1` in every trajectory.

    With `shared` one step serves all trajectories, and the worst of them decides.
    """

    rtol: float
    atol: float
    shared: bool

    def norm(self, step: Step, before: Tensor) -> Tensor:
        """Scaled root mean square of each row's error; infinite where the step cannot be used."""
        assert step.error is not None  # adaptive methods estimate their error
        scale = self.atol + self.rtol * torch.maximum(before.abs(), step.y.abs())
        norms = (step.error / scale).square().mean(dim=1).sqrt().to(torch.float64)
        # A sum is finite only if all its terms are.
        good = torch.isfinite(norms + step.y.sum(dim=1))
        if step.slope is not None:
            good = good & torch.isfinite(step.slope.sum(dim=1))
        if step.converged is not None:
            good = good & step.converged
        norms = torch.where(good, norms, torch.inf)
        return norms.amax().expand_as(norms) if self.shared else norms

    def factor(self, norms: Tensor, last: Tensor, order: int) -> Tensor:
        """Step size factor of a proportional-integral controller (Hairer & Wanner II, IV.2, eq. 2.43c)."""
        bounded = norms.clamp(min=1e-10)
        factor = _SAFETY * bounded ** (0.75 * _BETA - 1 / order) * last.clamp(min=1e-4) ** _BETA
        return torch.where(norms <= 1, factor, factor.clamp(max=1.0)).clamp(_SHRINK, _GROW)

    def within(self, h: Tensor, longest: Tensor | None) -> Tensor:
        """Step sizes that the system allows."""
        if longest is None:
            return h
        part = (longest / h).clamp(max=1.0)
        return h * (part.amin() if self.shared else part)

    def first_step(self, system: System, start: Start, slope: Tensor, order: int) -> Tensor:
        """Step to begin with, at most `start.h`, from state, slope and curvature (Hairer et al. I, II.4)."""
        rows, s, y, span = start.rows, start.s, start.y, start.h
        scale = self.atol + self.rtol * y.abs()
        d0, d1 = (((x / scale).square().mean(dim=1).sqrt().to(torch.float64)) for x in (y, slope))
        small = torch.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / d1.clamp(min=1e-300))
        h0 = torch.minimum(small, span)
        ahead = system(s + h0, y + h0.to(y.dtype).unsqueeze(1) * slope, rows)
        d2 = ((ahead - slope) / scale).square().mean(dim=1).sqrt().to(torch.float64) / h0.clamp(min=1e-300)
        steepest = torch.maximum(d1, d2)
        h1 = (0.01 / steepest.clamp(min=1e-300)) ** (1 / (order + 1))
        h1 = torch.where(steepest <= 1e-15, torch.clamp(1e-3 * h0, min=1e-6), h1)
        h = torch.where(torch.isfinite(d2), torch.minimum(torch.minimum(100 * h0, h1), span), 1e-3 * h0)
        if self.shared:
            h = (h / span.clamp(min=1e-300)).amin() * span
        return h
