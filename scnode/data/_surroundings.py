"""What a field should do where no cells are: lead back to them."""

from __future__ import annotations

import numpy as np

from scnode.data._neighbors import Neighbors
from scnode.data._support import Support

_REACH = 3.0


def surroundings(
    latent: np.ndarray, velocity: np.ndarray, *, rng: np.random.Generator, in_time: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    r"""States around the cells, one for each, and a velocity there that returns to the data.

    Evidence says nothing beyond the cells, and a field left free there carries trajectories away for ever. A state at
    mean distance :math:`d` from its nearest cells, with mean :math:`m` and mean velocity :math:`\bar v`, gets

    .. math:: v = \bar v + 2s\,\min(1, \max(0, d/d_0 - 1))\,\frac{m - x}{\|m - x\|},

    where :math:`d_0` is a distance that 99 % of the cells keep from theirs and :math:`s` the root mean square speed.
    Within the data the term vanishes; outside it outweighs an outflow of speed s from :math:`1.5\,d_0` on. With
    `in_time` :math:`\bar v` is that of the one cell that the state was drawn around: the nearest may be of other times.

    Returns
    -------
    tuple
        States and velocities, both (cell, latent), in the order of the cells that they were drawn around.
    """
    support = Support(latent)
    speed = np.linalg.norm(velocity, axis=1, keepdims=True)
    heading = np.divide(velocity, speed, out=np.zeros_like(velocity), where=speed > 0)
    around = rng.standard_normal(latent.shape)
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    # Outflow leaves along the velocity, noise in any direction: both are covered.
    away = np.where(rng.random((len(latent), 1)) < 0.5, heading, 0.0) + around
    # On a line the two may cancel.
    away = np.where(np.linalg.norm(away, axis=1, keepdims=True) > 0, away, around)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    states = latent + away * support.usual * rng.uniform(0.0, _REACH, (len(latent), 1))
    distance, index = support.nearest(states)
    near = Neighbors(index, distance)
    back = near.mean(latent) - states
    back /= np.linalg.norm(back, axis=1, keepdims=True) + np.finfo(float).tiny
    pull = 2 * np.sqrt((speed**2).mean()) * np.minimum(support.excess(distance), 1.0)
    mean = velocity if in_time else near.mean(velocity)
    return states, mean + pull[:, None] * back
