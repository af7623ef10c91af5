"""How far the evidence agrees, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._validation import near
from scnode.model import stored_result

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def agreement(adata: AnnData, *, groupby: str | None = None, key_added: str = DEFAULT) -> pd.DataFrame:
    r"""Mean cosine :math:`v_a\cdot v_b/(\|v_a\|\,\|v_b\|)` of each pair of sources, and of each with the fit.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit`.
    groupby
        `obs` column to average within, instead of over all cells; cells without a group are left out.
    key_added
        Name of the run.

    Returns
    -------
    pandas.DataFrame
        One row a pair and group, by name: `first` and `second`, sources of evidence or ``"fit"``, `group` (``"all"``
        without `groupby`), `mean`, and `n`, the cells where both speak; `mean` is NaN where there are none.

    Raises
    ------
    ScnodeError
        No fit is stored, it was of other cells, or there is no such column.
    """
    import pandas as pd

    with stored_result(adata, Keys(key_added).uns, "report") as report:
        stored = (report or {}).get("agreement")
        if stored is None:
            raise ScnodeError("No agreement of evidence. Run scnode.tl.fit(adata) first, or pass key_added=.")
        groups, rows = _groups(adata, groupby), []
        # A file does not keep the order.
        for pair in sorted(stored):
            cosines = np.asarray(stored[pair])
            if len(cosines) != adata.n_obs:
                raise ScnodeError(
                    f"The fit had {len(cosines)} cells, adata has {adata.n_obs}. Pass the object of the fit."
                )
            for group, members in groups.items():
                both = cosines[members][np.isfinite(cosines[members])]
                rows.append((*pair.split("|"), group, both.mean() if len(both) else np.nan, len(both)))
        return pd.DataFrame(rows, columns=["first", "second", "group", "mean", "n"])


def _groups(adata: AnnData, groupby: str | None) -> dict[str, np.ndarray]:
    """Row numbers by group."""
    if groupby is None:
        return {"all": np.arange(adata.n_obs)}
    if groupby not in adata.obs:
        raise ScnodeError(f"adata.obs[{groupby!r}] not found. {near(groupby, adata.obs.columns)} Pass groupby=.")
    column = adata.obs[groupby]
    return {str(g): np.flatnonzero(column == g) for g in np.sort(column.dropna().unique())}
