"""Time labels to numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._settings import logger
from scnode._validation import near

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_HOURS = {"min": 1 / 60, "h": 1.0, "day": 24.0, "week": 168.0}
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


def time(
    adata: AnnData, key: str, *, key_added: str = "time", unit: str | None = None, copy: bool = False
) -> AnnData | None:
    """Turn time labels into numbers of one unit.

    Understands a number with a unit on either side: "E15.5" (embryonic days), "48h", "30 min", "day 3", "D7",
    "2 weeks", "t=6h"; and plain numbers. Labels of several units are brought to the largest one among them.

    Parameters
    ----------
    adata
        Cells.
    key
        `obs` column of labels or numbers.
    key_added
        `obs` column to write.
    unit
        Unit of the result, ``"min"``, ``"h"``, ``"day"`` or ``"week"``; for plain numbers, the unit that they are in.
    copy
        Return a changed copy and leave `adata` as it is.

    Returns
    -------
    AnnData or None
        Writes ``obs[key_added]``, float, and ``uns[f"{key_added}_unit"]``, the unit, ``"unknown"`` for plain numbers
        without `unit`.

    Raises
    ------
    ScnodeError
        No such column, missing labels, labels that are no times, or a mix of labels with and without a unit.

    Examples
    --------
    >>> import anndata, pandas, scnode
    >>> adata = anndata.AnnData(obs=pandas.DataFrame({"stage": ["E8.5", "E9"]}, index=["a", "b"]))
    >>> scnode.pp.time(adata, "stage")
    >>> adata.obs["time"].tolist(), adata.uns["time_unit"]
    ([8.5, 9.0], 'day')
    """
    if key not in adata.obs:
        raise ScnodeError(f"adata.obs[{key!r}] not found. {near(key, adata.obs.columns)} Pass the column of labels.")
    if unit is not None and unit not in _HOURS:
        raise ScnodeError(f"unit={unit!r} is unknown. Pass one of {list(_HOURS)}.")
    column = adata.obs[key]
    if column.isna().any():
        raise ScnodeError(
            f"adata.obs[{key!r}] is missing in {column.isna().sum()} cells. "
            f"Drop them: adata = adata[adata.obs[{key!r}].notna()].copy()."
        )
    if column.dtype.kind in "iuf":
        times, found = column.to_numpy(dtype=np.float64), unit or "unknown"
    else:
        values, found = _to_one_unit(_parse_all(column, key), key, unit)
        times = column.astype(str).map(values).to_numpy(dtype=np.float64)
    result = adata.copy() if copy else adata
    result.obs[key_added] = times
    result.uns[f"{key_added}_unit"] = found
    shown = ", ".join(f"{t:g}" for t in np.unique(times)[:10])
    logger.info("obs[%r] holds the times %s (unit: %s).", key_added, shown, found)
    return result if copy else None


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
    target = unit or max(units, key=_HOURS.__getitem__)
    return {label: number * _HOURS[u] / _HOURS[target] for label, (number, u) in parsed.items()}, target
