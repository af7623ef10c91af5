"""What each gene contributed to the fates, and when, as a table."""

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


def attribution(adata: AnnData, *, fate: str | None = None, key_added: str = DEFAULT) -> pd.DataFrame:
    r"""Contributions of every gene to the log-odds of the fates over time.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.attribution`.
    fate
        Only that fate.
    key_added
        Name of the run.

    Returns
    -------
    pandas.DataFrame
        One row a fate, gene and time: `fate`, `gene`, `t` since the start, in units of the clock, `contribution` in
        log-odds per unit of the clock, and its standard deviation over the members, `sd`.

    Raises
    ------
    ScnodeError
        No attribution is stored, or an unknown fate.
    """
    import pandas as pd

    with stored_result(adata, Keys(key_added).uns, "attribution", by="scnode.tl.attribution(adata)") as stored:
        if stored is None:
            raise ScnodeError("No attribution is stored. Run scnode.tl.attribution(adata, groupby=, groups=) first.")
        fates, genes = ([str(name) for name in stored[part]] for part in ("fates", "genes"))
        if fate is not None and fate not in fates:
            raise ScnodeError(f"{fate!r} is no fate of the attribution. {near(fate, fates)} Pass fate=.")
        index = pd.MultiIndex.from_product([fates, genes, np.asarray(stored["t"])], names=["fate", "gene", "t"])
        values = {part: np.ravel(stored[part]) for part in ("contribution", "sd")}
        table = pd.DataFrame(values, index=index).reset_index()
    return table if fate is None else table[table["fate"] == fate].reset_index(drop=True)
