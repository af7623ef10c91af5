"""One table per family: medians over the seeds, the worst seed in brackets."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

sys.path.append(str(Path(__file__).resolve().parents[1]))

from _table import publish

LOWER_IS_BETTER = ("W1", "energy", "Brier", "probability", "CPU", "peak")
WHOLE = ("CPU", "peak")


def table(records: pd.DataFrame, columns: Sequence[str]) -> list[list[str]]:
    """A row for every simulation and method, in the order of their coming."""
    rows = []
    for (simulation, method), each in records.groupby(["simulation", "method"], sort=False):
        values = each.reindex(columns=["seed", *columns]).dropna(how="all", subset=list(columns))
        if len(values):
            cells = [summary(name, values[name].dropna()) for name in columns]
            rows.append([simulation, method, *cells, str(values["seed"].nunique())])
    return rows


def summary(column: str, values: pd.Series) -> str:
    if values.empty:
        return "-"
    worst = values.max() if column.startswith(LOWER_IS_BETTER) else values.min()
    digits = 0 if column.startswith(WHOLE) else 3
    return f"{number(values.median(), digits)} ({number(worst, digits)})"


def number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def write(target: Path, title: str, columns: Sequence[str], records: Sequence[dict[str, object]], notes: str) -> None:
    heads = ["simulation", "method", *columns, "seeds"]
    script = Path(__file__).with_name("run.py")
    publish(str(script), title, heads, table(pd.DataFrame(records), columns), notes, into=target)
