"""A flow with the sensitivity of the fates at its end to the state at every time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField

PIECES = 25
# Of the log-odds: terminal cells are far apart, and steeper ones would count their distance alone.
_RIDGE = 0.01


@dataclass(frozen=True)
class Odds:
    """Log-odds of the fates, by a multinomial logistic regression of the terminal cells on their states.

    Parameters
    ----------
    weights
        Shape (fate, latent).
    offset
        Shape (fate,).
    """

    weights: Tensor
    offset: Tensor

    @classmethod
    def of(cls, latent: np.ndarray, terminal: np.ndarray) -> Odds:
        """From states (cell, latent) and terminal groups (cell,), empty where a cell has none; two at least."""
        import torch
        from sklearn.linear_model import LogisticRegression

        cells = latent[terminal != ""]
        center, spread = cells.mean(0), cells.std()
        fit = LogisticRegression(C=_RIDGE, max_iter=1000).fit((cells - center) / spread, terminal[terminal != ""])
        coef, offset = fit.coef_, fit.intercept_
        if len(fit.classes_) == 2:
            coef, offset = np.vstack([-coef, coef]) / 2, np.append(-offset, offset) / 2
        weights = coef / spread
        return cls(torch.as_tensor(weights).float(), torch.as_tensor(offset - weights @ center).float())

    def __call__(self, states: Tensor) -> Tensor:
        """Log-odds of every fate against all others (..., fate) at states (..., latent)."""
        import torch

        logits = states @ self.weights.T + self.offset
        others = [torch.cat([logits[..., :k], logits[..., k + 1 :]], -1) for k in range(logits.shape[-1])]
        return torch.stack([logits[..., k] - rest.logsumexp(-1) for k, rest in enumerate(others)], -1)


@dataclass(frozen=True)
class AdjointPath:
    r"""Flow of all members from some cells, and :math:`\lambda_k(t) = \partial\Phi_k/\partial z(t)` along it.

    Parameters
    ----------
    states, velocity
        Shape (time, cell, member, latent).
    odds
        Log-odds :math:`\Phi` at the end (cell, member, fate).
    adjoints
        Of the mean of :math:`\Phi_k` over cells and members, shape (fate, time, cell, member, latent).
    weight
        Trapezoidal weights (time,).
    """

    states: Tensor
    velocity: Tensor
    odds: Tensor
    adjoints: Tensor
    weight: Tensor

    @classmethod
    def along(cls, field: VectorField, start: Tensor, grid: Tensor, readout: Odds) -> AdjointPath:
        """Solve piece by piece, so that the gradient at the end of each is the adjoint there.

        `field` takes members side by side, as `start` (cell, member * latent) has them; `grid` are the times (time,)
        or (cell, time) at the ends of equal pieces.
        """
        import torch

        from scnode import ode

        apart = (start.shape[1] // readout.weights.shape[1], -1)
        path = [start.detach().requires_grad_()]
        for k in range(grid.shape[-1] - 1):
            piece = grid[..., k : k + 2]
            path.append(ode.solve(field, path[-1], piece, solver="dopri5", gradient="backprop").ys[:, -1])
        odds = readout(path[-1].unflatten(1, apart))
        adjoints = [torch.stack(torch.autograd.grad(one, path, retain_graph=True)) for one in odds.mean((0, 1))]
        times = grid.T.unsqueeze(-1) if grid.ndim == 2 else grid
        with torch.no_grad():
            velocity = torch.stack([field(t, z) for t, z in zip(times, path, strict=True)]).unflatten(2, apart)
        weight = (grid[..., 1] - grid[..., 0]).reshape(-1)[0].repeat(len(path))
        weight[[0, -1]] /= 2
        states = torch.stack(path).detach().unflatten(2, apart)
        return cls(states, velocity, odds.detach(), torch.stack(adjoints).unflatten(3, apart), weight)
