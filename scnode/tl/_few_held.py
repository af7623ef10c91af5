"""Many choices of genes, each held along a few trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scnode.tl._constraint import Reader
from scnode.tl._outcomes import group_shares

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.model import LatentODE
    from scnode.nn import Hold

_ONE_IN, _MOST = 50, 5
_ROWS = 4096


@dataclass(frozen=True)
class FewHeld:
    """Trajectories that stand for those of every member from every start cell: at most one in fifty.

    Where all cells share time and input, each member starts from cells of its own: twice as many cells are then as
    telling as twice as many trajectories.

    Parameters
    ----------
    model
        The fitted model.
    cells
        Numbers of the start cells, shape (member, few).
    states
        Of all start cells, shape (start, latent).
    ts
        First and last time, shape (2,) or (start, 2).
    control
        Input (start, control), None where the field takes none.
    latent, terminal
        States of the terminal groups' cells.
    """

    model: LatentODE
    cells: np.ndarray
    states: Tensor
    ts: Tensor
    control: Tensor | None
    latent: np.ndarray
    terminal: np.ndarray

    @classmethod
    def of(  # noqa: PLR0917
        cls,
        model: LatentODE,
        states: Tensor,
        ts: Tensor,
        control: Tensor | None,
        latent: np.ndarray,
        terminal: np.ndarray,
    ) -> FewHeld:
        """Start cells evenly taken."""
        n, n_members = len(states), model.field.n_members
        few, own = int(np.clip(n // _ONE_IN, 1, _MOST)), ts.ndim == 1 and control is None
        places = np.linspace(0, n - 1, few * n_members if own else few).round().astype(int)
        cells = places.reshape(few, n_members).T if own else np.tile(places, (n_members, 1))
        return cls(model, cells, states, ts, control, latent, terminal)

    def shifts(self, choices: Sequence[Sequence[str]], level: float) -> np.ndarray:
        """Change of each fate's mean share when the genes of each choice are held at a level, (choice, fate)."""
        import torch

        reader, few = Reader.of(self.model, self.latent), self.cells.shape[1]
        levels, before = torch.full((len(choices[0]),), float(level)), self._shares(1)
        found = []
        for first in range(0, len(choices), max(1, _ROWS // few)):
            part = choices[first : first + max(1, _ROWS // few)]
            found.append(self._shares(len(part), reader.holds(part, few, levels)))
        return np.concatenate(found) - before

    def _shares(self, n: int, hold: Hold | None = None) -> np.ndarray:
        """Mean shares at the ends of `n` repeats of the few cells, (repeat, fate)."""
        import torch

        from scnode import ode
        from scnode.nn import side_by_side

        n_members, few = self.cells.shape
        start, rows = self.states[torch.as_tensor(self.cells)].repeat(1, n, 1), np.tile(self.cells[0], n)
        field = self.model.under(None if self.control is None else self.control[rows])
        moving = field if hold is None else hold.wrap(field)
        start = start if hold is None else hold.confine(start)
        ts = self.ts if self.ts.ndim == 1 else self.ts[rows]
        with torch.no_grad():
            flat = start.transpose(0, 1).flatten(1)
            ends = ode.solve(side_by_side(moving, n_members), flat, ts, solver="dopri5").ys[:, -1]
        states = ends.unflatten(1, (n_members, -1)).numpy().astype(float)
        shares = group_shares(self.latent, self.terminal, states)
        return shares.reshape(n, few, n_members, -1).mean((1, 2))
