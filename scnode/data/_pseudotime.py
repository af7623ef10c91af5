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
    parts = [
        _moments(latent, time, neighbors.index[rows], neighbors.distance[rows])
        for rows in np.array_split(np.arange(len(latent)), max(1, len(latent) // _CHUNK))
    ]
    together, spread, scatter, share = (np.concatenate(part) for part in zip(*parts, strict=True))
    # A neighbourhood of almost one time tells nothing: the floor keeps its slope small and its error large. It is
    # relative to the other neighbourhoods, which are the narrower the more cells there are.
    held = np.maximum(spread, max(1e-3 * np.median(spread), 1e-8 * time.var()))
    slope = together / held[:, None]
    residual = np.maximum(scatter - 2 * (slope * together).sum(1) + (slope**2).sum(1) * spread, 0)
    floor = 1e-3 * np.median(np.linalg.norm(slope, axis=1)) + np.finfo(float).tiny
    return slope, np.maximum(np.sqrt(residual / held * share), floor)


def _moments(
    latent: np.ndarray, time: np.ndarray, index: np.ndarray, distance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weighted covariance of state and time, variance of time, variance of state, and the sum of squared weights."""
    reach = distance[:, -1:] + np.finfo(float).tiny
    weight = 1 - 0.9 * (distance / reach) ** 2
    weight /= weight.sum(1, keepdims=True)
    tau = time[index]
    tau = tau - (weight * tau).sum(1, keepdims=True)
    states = latent[index]
    states = states - np.einsum("nk,nkd->nd", weight, states)[:, None]
    together = np.einsum("nk,nk,nkd->nd", weight, tau, states)
    return together, (weight * tau**2).sum(1), np.einsum("nk,nkd->n", weight, states**2), (weight**2).sum(1)
