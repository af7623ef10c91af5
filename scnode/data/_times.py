"""Time labels as numbers of one unit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._validation import near

if TYPE_CHECKING:
    import pandas as pd

HOURS = {"min": 1 / 60, "h": 1.0, "day": 24.0, "week": 168.0}
_SPELLINGS = {
    "min": ("m", "min", "mins", "minute", "minutes"),
    "h": ("h", "hr", "hrs", "hour", "hours"),
    "day": ("d", "day", "days", "e", "dpc", "dpf", "dpi"),
    "week": ("w", "wk", "wks", "week", "weeks", "pcw"),
}
_UNIT_OF = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings}
_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_AFTER = re.compile(rf"^(?:t\s*=?\s*)?({_NUMBER})[\s_-]*([a-z]*)$")
_BEFORE = re.compile(rf"^([a-z]+)[\s_]*({_NUMBER})$")


def read_times(column: pd.Series, key: str, *, unit: str | None = None) -> tuple[np.ndarray, str]:
    """Numbers of a column of labels or numbers, and their unit, ``"unknown"`` for plain numbers without `unit`."""
    if unit is not None and unit not in HOURS:
        raise ScnodeError(f"unit={unit!r} is unknown. Pass one of {list(HOURS)}.")
    if column.isna().any():
        raise ScnodeError(
            f"adata.obs[{key!r}] is missing in {column.isna().sum()} cells. "
            f"Drop them: adata = adata[adata.obs[{key!r}].notna()].copy()."
        )
    if column.dtype.kind in "iuf":
        return column.to_numpy(dtype=np.float64), unit or "unknown"
    values, found = _to_one_unit(_parse_all(column, key), key, unit)
    return column.astype(str).map(values).to_numpy(dtype=np.float64), found


def _parse_all(column: pd.Series, key: str) -> dict[str, tuple[float, str]]:
    labels = column.astype(str).unique()
    parsed = {label: _parse(label) for label in labels}
    unclear = [label for label, value in parsed.items() if value is None]
    if unclear:
        n = column.astype(str).isin(unclear).sum()
        raise ScnodeError(
            f"adata.obs[{key!r}] holds {len(unclear)} labels in {n} cells that are no times: {unclear[:5]}. "
            f"Map them: adata.obs['time'] = adata.obs[{key!r}].map({{{unclear[0]!r}: 0.0}}).astype(float)."
        )
    return {label: value for label, value in parsed.items() if value is not None}


def _parse(label: str) -> tuple[float, str] | None:
    """Number and unit, an empty unit for a plain number."""
    text = label.strip().lower()
    after, before = _AFTER.match(text), _BEFORE.match(text)
    number, spelling = (after[1], after[2]) if after else (before[2], before[1]) if before else ("nan", "")
    if not np.isfinite(float(number)) or (spelling and spelling not in _UNIT_OF):
        return None
    return float(number), _UNIT_OF.get(spelling, "")


def _to_one_unit(parsed: dict[str, tuple[float, str]], key: str, unit: str | None) -> tuple[dict[str, float], str]:
    units = {u for _, u in parsed.values()}
    if units == {""}:
        return {label: number for label, (number, _) in parsed.items()}, unit or "unknown"
    if "" in units:
        bare = [label for label, (_, u) in parsed.items() if not u][:5]
        raise ScnodeError(
            f"adata.obs[{key!r}] mixes labels with and without a unit (without: {bare}). Give every label its unit."
        )
    target = unit or max(units, key=HOURS.__getitem__)
    return {label: number * HOURS[u] / HOURS[target] for label, (number, u) in parsed.items()}, target
