"""The table of fates of a perturbation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._validation import near
from scnode.model import stored_result

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def perturbation(adata: AnnData, name: str, *, key_added: str = DEFAULT) -> pd.DataFrame:
    """How a perturbation moves the fates.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.perturb` with `groupby`.
    name
        Name of the perturbation.
    key_added
        Name of the run.

    Returns
    -------
    pandas.DataFrame
        One row a fate: `fate`, shares `control` and `perturbed`, `log_fold_change` (base 2) with its 95 %
        interval `ci_low` and `ci_high` over start cells and members, which holds whatever may become of cells that
        leave the data when their genes are held; `pvalue`, the share of random genes of equal mean
        and variance that change the fate at least as much, and `qvalue`, that corrected over the fates by Benjamini
        and Hochberg; and `ood` in [0, 1]: where :func:`scnode.tl.ood` was run before, the mean probability that the
        perturbed end states of that fate should not be believed, else the share of them that lie off the data. A change
        is to be called where the q value is small and the interval leaves out 0.

    Raises
    ------
    ScnodeError
        No perturbation of that name, or one without a table of fates.
    """
    with stored_perturbation(adata, name, key_added) as record:
        if "fates" not in record:
            raise ScnodeError(
                f"Perturbation {name!r} has no fates. Run scnode.tl.perturb(..., groupby=, overwrite=True)."
            )
        return record["fates"].copy()


@contextmanager
def stored_perturbation(adata: AnnData, name: str, key_added: str) -> Iterator[Mapping[str, Any]]:
    """The record of a perturbation, to be read within."""
    with stored_result(adata, Keys(key_added).uns, "perturbations", by="scnode.tl.perturb(adata, genes)") as found:
        stored = found or {}
        if name not in stored:
            raise ScnodeError(
                f"No perturbation {name!r}. {near(name, stored)} Run scnode.tl.perturb(adata, genes) first."
            )
        yield stored[name]
