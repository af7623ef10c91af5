"""Tangents from a pseudotime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scnode.data._neighbors import Neighbors

_CHUNK = 2048


def pseudotime_tangents(latent: np.ndarray, time: np.ndarray, neighbors: Neighbors) -> tuple[np.ndarray, np.ndarray]:
    r"""Local regression of the latent state on time over each cell's neighbours.

    With weights :math:`w_j` falling with distance, the slope is
    :math:`v_i = \sum_j w_j(\tau_j-\bar\tau)(x_j-\bar x) / \sum_j w_j(\tau_j-\bar\tau)^2`. No cell is threaded to a
    single successor: a neighbourhood before a branching point holds the starts of all branches.

    Parameters
    ----------
    latent
        Shape (cell, latent).
    time
        Shape (cell,).
    neighbors
        Neighbourhoods that the regressions run over.

    Returns
    -------
    tuple
        Velocity (cell, latent) and its standard error (cell,), per unit of `time`.
    """
    pairs = [
        _slopes(latent, time, neighbors.index[rows], neighbors.distance[rows])
        for rows in np.array_split(np.arange(len(latent)), max(1, len(latent) // _CHUNK))
    ]
    velocity, se = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return velocity, np.maximum(se, 1e-3 * np.median(np.linalg.norm(velocity, axis=1)) + np.finfo(float).tiny)


def _slopes(
    latent: np.ndarray, time: np.ndarray, index: np.ndarray, distance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    reach = distance[:, -1:] + np.finfo(float).tiny
    weight = 1 - 0.9 * (distance / reach) ** 2
    weight /= weight.sum(1, keepdims=True)
    tau = time[index]
    tau = tau - (weight * tau).sum(1, keepdims=True)
    states = latent[index]
    states = states - np.einsum("nk,nkd->nd", weight, states)[:, None]
    spread = (weight * tau**2).sum(1)
    # A neighbourhood of almost one time tells nothing: the floor keeps its slope small and its error large.
    spread = np.maximum(spread, 1e-4 * time.var())
    slope = np.einsum("nk,nk,nkd->nd", weight, tau, states) / spread[:, None]
    residual = states - tau[..., None] * slope[:, None]
    variance = np.einsum("nk,nkd->n", weight, residual**2) / spread
    return slope, np.sqrt(variance * (weight**2).sum(1))
