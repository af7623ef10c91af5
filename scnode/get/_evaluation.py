"""The distances to held-out times as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode.model import stored_result

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_COLUMNS = ("method", "holdout", "w1", "w2", "energy")
_COVERAGE = ("coverage", "coverage_conformal")


def evaluation(adata: AnnData, *, key_added: str = DEFAULT) -> pd.DataFrame:
    """How far each method's prediction of a held-out time is from its cells.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.evaluate`.
    key_added
        Name of the run.

    Returns
    -------
    pandas.DataFrame
        One row a method and held-out time: `method` (``scnode``, ``scnode_forecast``, ``no_motion``,
        ``ot_interpolation``, ``noise_floor``, and where it was asked for ``residual_map``), `holdout` in the unit of
        `time_key`, `w1`, `w2`, `energy` in latent units, and the shares of the held-out cells in 90 % intervals,
        `coverage` and `coverage_conformal`.

    Raises
    ------
    ScnodeError
        No evaluation is stored.
    """
    with stored_result(adata, Keys(key_added).uns, "evaluation", by="scnode.tl.evaluate(adata, time_key=)") as stored:
        if stored is None:
            raise ScnodeError("No evaluation. Run scnode.tl.evaluate(adata, time_key=) first, or pass key_added=.")
        table = stored["table"]
        return table[[*_COLUMNS, *(name for name in _COVERAGE if name in table)]].copy()
