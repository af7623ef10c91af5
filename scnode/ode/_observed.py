"""Observed trajectories, and the unit in which a deviation from them counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scnode._errors import SolverError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Observed:
    """Times, states (batch, time, state), and the standard deviation of each state over all of them."""

    ts: Tensor
    ys: Tensor
    unit: Tensor

    @classmethod
    def of(cls, ts: Tensor, ys: Tensor) -> Observed:
        """Checked."""
        if ys.ndim != 3 or ts.ndim not in (1, 2) or ys.shape[1] != ts.shape[-1]:
            raise SolverError(f"ys has shape {tuple(ys.shape)} and ts {tuple(ts.shape)}; pass ys (batch, time, state).")
        if not bool(torch.isfinite(ys).all()):
            rows = torch.nonzero(~torch.isfinite(ys).flatten(1).all(1)).flatten()
            raise SolverError(f"ys is not finite in {len(rows)} trajectories (first: {int(rows[0])}). Drop those.")
        ys = ys.detach()
        unit = ys.std((0, 1), correction=0)
        if not bool(unit.max() > 0):
            raise SolverError("ys never moves: there is nothing to fit. Pass trajectories that differ from their mean.")
        # A state that never moves is measured by those that do.
        return cls(ts, ys, torch.where(unit > 1e-6 * unit.max(), unit, unit.max()))

    def residual(self, solved: Tensor) -> Tensor:
        """Deviation of solved trajectories, in units of each state."""
        return (solved - self.ys) / self.unit
