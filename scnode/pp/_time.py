"""Time labels to numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._settings import logger
from scnode._validation import near
from scnode._write import written
from scnode.data import read_times

if TYPE_CHECKING:
    from anndata import AnnData


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
    times, found = read_times(adata.obs[key], key, unit=unit)
    with written(adata, copy=copy) as result:
        result.obs[key_added] = times
        result.uns[f"{key_added}_unit"] = found
    shown = ", ".join(f"{t:g}" for t in np.unique(times)[:10])
    logger.info("obs[%r] holds the times %s (unit: %s).", key_added, shown, found)
    return result if copy else None
