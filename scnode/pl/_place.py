"""Where an embedding has a place for latent states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scnode.data import Support


def place(support: Support, position: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean positions (..., 2) of the 15 nearest cells of states (..., latent), and whether these are near."""
    distance, index = support.nearest(states)
    weight = np.exp(-((distance / distance[..., -1:]) ** 2) * 2)
    weight /= weight.sum(-1, keepdims=True)
    return np.einsum("...k,...kd->...d", weight, position[index]), support.excess(distance) == 0
