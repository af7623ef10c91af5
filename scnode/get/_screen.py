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


def screen(adata: AnnData, *, fate: str | None = None, pairs: bool = False, key_added: str = DEFAULT) -> pd.DataFrame:
    """What holding each gene would do to the fates, the largest effects first, and last those off the data.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.screen`.
    fate
        Only that fate.
    pairs
        The pairs of genes instead.
    key_added
        Name of the run.

    Returns
    -------
    pandas.DataFrame
        One row a gene and fate: `gene`, `fate`, `score`, the first-order shift of the fate's mean log-odds, `shift`,
        the change of its mean share along a few trajectories, `start_ood`, the share of start cells that lie off the
        data once the gene is at its level, and for genes that were held in full `log_fold_change` (base 2) with its
        95 % interval `ci_low` and `ci_high`, `qvalue` (Benjamini and Hochberg's over all of them) and `ood`,
        as in
        :func:`scnode.get.perturbation`; missing for the others.

        Of pairs, one row a pair and fate, the largest synergies first: `gene`, `partner`, `fate`, `shift` with both
        held, and `synergy`, what of it the shifts of each alone do not add up to.

    Raises
    ------
    ScnodeError
        No screen is stored, none of pairs, or an unknown fate.
    """
    with stored_result(adata, Keys(key_added).uns, "screen", by="scnode.tl.screen(adata)") as stored:
        if stored is None:
            raise ScnodeError("No screen is stored. Run scnode.tl.screen(adata, groupby=, groups=) first.")
        if pairs and "pairs" not in stored:
            raise ScnodeError("No pairs were held. Run scnode.tl.screen(adata, n_paired=20).")
        table = stored["pairs" if pairs else "table"].copy()
        if fate is None:
            return table
        chosen = table[table["fate"] == fate]
        if not len(chosen):
            raise ScnodeError(f"{fate!r} is no fate of the screen. {near(fate, table['fate'].unique())} Pass fate=.")
        return chosen.reset_index(drop=True)
