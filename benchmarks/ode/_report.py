"""The tables of this folder."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from _table import publish as _publish

PEERS = ("scipy", "torchdiffeq", "torchode", "diffrax", "jax")


def publish(script: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], notes: str) -> None:
    """Publish the table with the versions of the peers."""
    versions = ", ".join(f"{name} {version(name)}" for name in PEERS)
    _publish(script, title, columns, rows, f"{notes} Peers: {versions}.")


def number(value: float, digits: int = 3) -> str:
    """`value` to that many significant digits, a dash where there is none."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:#.{digits}g}".rstrip(".")


def small(value: float) -> str:
    """An error."""
    return f"{value:.1e}" if math.isfinite(value) else "-"


def ratio(value: float, to: float) -> str:
    """`value` over `to`."""
    return f"{number(value / to)}x" if math.isfinite(value) and math.isfinite(to) and to > 0 else "-"
