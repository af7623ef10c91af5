"""The ranking of a screen as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._validation import near
from scnode.model import stored_result

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def screen(adata: AnnData, *, fate: str | None = None, key_added: str = DEFAULT) -> pd.DataFrame:
    """What holding each gene would do to the fates, the largest effects first, and last those off the data.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.screen`.
    fate
        Only that fate.
    key_added
        Name of the run.

    Returns
    -------
    pandas.DataFrame
        One row a gene and fate: `gene`, `fate`, `score`, the first-order shift of the fate's mean log-odds,
        `start_ood`, the share of start cells that lie off the data once the gene is at its level, and for genes that
        were held in full `log_fold_change` (base 2) with its 95 % bootstrap interval `ci_low` and
        `ci_high`, `qvalue` (Benjamini and Hochberg's over all of them) and `ood`, as in
        :func:`scnode.get.perturbation`; missing for the others.

    Raises
    ------
    ScnodeError
        No screen is stored, or an unknown fate.
    """
    with stored_result(adata, Keys(key_added).uns, "screen", by="scnode.tl.screen(adata)") as stored:
        if stored is None:
            raise ScnodeError("No screen is stored. Run scnode.tl.screen(adata, groupby=, groups=) first.")
        table = stored["table"].copy()
        if fate is None:
            return table
        chosen = table[table["fate"] == fate]
        if not len(chosen):
            raise ScnodeError(f"{fate!r} is no fate of the screen. {near(fate, table['fate'].unique())} Pass fate=.")
        return chosen.reset_index(drop=True)
