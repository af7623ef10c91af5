"""What a run costs, as every adapter measured its own process."""

from __future__ import annotations

import numpy as np

TASKS = ("bifurcation", "bifurcation_days")
COLUMNS = ("CPU s", "CPU s of imports", "peak MB")


def scores(found: dict[str, np.ndarray]) -> dict[str, float]:
    """Floors and ceilings are not measured."""
    measured = zip(COLUMNS, ("cpu", "cpu_imports", "peak_mb"), strict=True)
    return {column: float(found[key]) for column, key in measured if key in found}
