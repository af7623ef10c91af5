"""Intervals for fate probabilities, calibrated on cells whose fates are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._validation import near
from scnode.metrics import conformal_quantile

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from scnode.tl._committor import Committor

    Floats = NDArray[np.float64]

# Standard errors know nothing of what all members have in common, and vanish where these agree.
_LEAST = 0.05


def read_known(adata: AnnData, key: str, names: NDArray[np.str_]) -> Floats:
    """Known shares of the groups (cell, group) from a DataFrame in `obsm`, NaN where a cell's are not known."""
    if key not in adata.obsm:
        raise ScnodeError(f"adata.obsm[{key!r}] not found. {near(key, adata.obsm)} Pass known_key=.")
    table: pd.DataFrame = adata.obsm[key]
    if not hasattr(table, "columns"):
        raise ScnodeError(
            f"adata.obsm[{key!r}] does not name its columns. Pass a DataFrame with one for each of {names.tolist()}."
        )
    missing = [name for name in names.tolist() if name not in table.columns]
    if missing:
        raise ScnodeError(f"adata.obsm[{key!r}] has no column {missing}. {near(missing[0], table.columns)}")
    known = table[names.tolist()].to_numpy(dtype=float)
    known = np.where(np.isnan(known).any(1, keepdims=True), np.nan, known)
    wrong = (known < 0) | (known > 1)
    if wrong.any():
        raise ScnodeError(
            f"adata.obsm[{key!r}] is below 0 or above 1 in {wrong.any(1).sum()} cells. Pass shares of the fates, NaN "
            "where they are not known."
        )
    return known


def intervals(found: Committor, known: Floats, live: NDArray[np.bool_], coverage: float) -> tuple[Floats, Floats]:
    r"""Lower and upper ends (cell, group) that hold a new cell's share with probability `coverage`, group by group.

    :math:`q \pm \hat s\,(\mathrm{se} + 0.05)` within [0, 1], with :math:`\hat s` the conformal quantile of
    :math:`|q - k| / (\mathrm{se} + 0.05)` over the cells of known share k outside the terminal groups.
    """
    told = live & np.isfinite(known).all(1)
    fewest = int(np.ceil(coverage / (1 - coverage) - 1e-9))
    if told.sum() < fewest:
        raise ScnodeError(
            f"Fates are known of {told.sum()} cells outside the terminal groups; coverage={coverage:g} needs {fewest}. "
            "Lower coverage=, or leave known_key= out."
        )
    width = found.se + _LEAST
    score = np.abs(found.probability - known)[told] / width[told]
    half = np.array([conformal_quantile(column, coverage) for column in score.T]) * width
    half[~live] = 0.0
    return (found.probability - half).clip(0, 1), (found.probability + half).clip(0, 1)
