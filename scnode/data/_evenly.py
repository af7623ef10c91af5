"""A few of many, evenly taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of more cells than these a search for neighbours holds this many, and a density hardly changes.
MOST_SEARCHED = 50_000


def evenly(n: int, most: int) -> NDArray[np.int64]:
    """Numbers of up to `most` of `n` things, increasing, the first among them, and the last where there are two."""
    return np.linspace(0, n - 1, min(n, most)).round().astype(int)
