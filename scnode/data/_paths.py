"""Short trajectories drawn on the neighbour graph, for training with the solver in the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scnode.data._neighbors import Neighbors

_CHUNK = 1 << 14


def draw_paths(
    latent: np.ndarray, velocity: np.ndarray, neighbors: Neighbors, *, n_steps: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    r"""One random walk along the velocity from every cell.

    A step goes to neighbour :math:`j` with probability :math:`\propto e^{4\cos(x_j - x_i, v_i)}` among those ahead,
    so that a cell before a branching point has several futures, and lasts
    :math:`\Delta t = (x_j - x_i)\cdot v_i/\|v_i\|^2`. A cell with nobody ahead stays and its clock stops.

    Returns
    -------
    tuple
        Cell indices (cell, step + 1) and times (cell, step + 1) from 0.
    """
    n = len(latent)
    index, times = np.empty((n, n_steps + 1), dtype=np.int64), np.zeros((n, n_steps + 1))
    index[:, 0] = np.arange(n)
    for step in range(n_steps):
        chance = rng.random((n, 1))
        for rows in np.array_split(np.arange(n), 1 + n // _CHUNK):
            here = index[rows, step]
            index[rows, step + 1], elapsed = _step(latent, velocity[here], here, neighbors.index[here], chance[rows])
            times[rows, step + 1] = times[rows, step] + elapsed
    return index, times


def _step(
    latent: np.ndarray, v: np.ndarray, here: np.ndarray, ahead: np.ndarray, chance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where walkers come to from `here` and after how long, each by its `chance` in [0, 1)."""
    move = latent[ahead] - latent[here][:, None]
    along = np.einsum("nkd,nd->nk", move, v)
    speed = np.linalg.norm(v, axis=1, keepdims=True)
    length = np.linalg.norm(move, axis=2) * speed
    cos = np.divide(along, length, out=np.full_like(along, -1), where=length > 0)
    weight = np.where(along > 0, np.exp(4 * cos), 0.0)
    weight[:, 0] = np.where(weight[:, 1:].sum(1) > 0, 0.0, 1.0)
    cumulative = weight.cumsum(1) / weight.sum(1, keepdims=True)
    pick = (cumulative < chance).sum(1).clip(max=ahead.shape[1] - 1)
    rows = np.arange(len(here))
    elapsed = along[rows, pick] / np.maximum(speed[:, 0] ** 2, np.finfo(float).tiny)
    return ahead[rows, pick], np.maximum(elapsed, 0.0)
