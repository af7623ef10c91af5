"""A clock from velocities alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import lsqr

if TYPE_CHECKING:
    from scnode.data._neighbors import Neighbors


def velocity_clock(latent: np.ndarray, velocity: np.ndarray, neighbors: Neighbors) -> np.ndarray:
    r"""Time :math:`\tau` whose differences between neighbours fit the velocities, scaled to [0, 1].

    Least squares on the neighbour graph, with unit directions :math:`\hat v`:
    :math:`\min_\tau \sum_{ij} (\tau_j - \tau_i - (x_j - x_i)\cdot(\hat v_i + \hat v_j)/2)^2`,
    the discrete Hodge potential of the field (:cite:p:`Jiang2011`).

    Parameters
    ----------
    latent, velocity
        Shape (cell, latent).
    neighbors
        Graph whose edges are used.
    """
    n, k = neighbors.index.shape
    head = np.repeat(np.arange(n), k - 1)
    tail = neighbors.index[:, 1:].ravel()
    speed = np.linalg.norm(velocity, axis=1, keepdims=True)
    unit = np.divide(velocity, speed, out=np.zeros_like(velocity), where=speed > 0)
    rise = ((latent[tail] - latent[head]) * (unit[head] + unit[tail]) / 2).sum(1)
    rows = np.arange(len(head))
    ones = np.ones(len(head))
    gradient = sp.csr_matrix((np.r_[ones, -ones], (np.r_[rows, rows], np.r_[tail, head])), shape=(len(head), n))
    potential = lsqr(gradient, rise, damp=1e-3, iter_lim=500)[0]
    span = np.ptp(potential)
    return (potential - potential.min()) / span if span > 0 else np.zeros(n)
