"""The gene level of the Jacobian as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._validation import near
from scnode.model import stored_result

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def jacobian(adata: AnnData, *, groupby: str | None = None, key_added: str = DEFAULT) -> pd.DataFrame:
    r"""Mean response :math:`\partial\dot x_e/\partial x_r` over the cells, or over each group of them.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.jacobian` with `regulators` and `effectors`.
    groupby
        `obs` column; one row a pair and group.
    key_added
        Name of the run.

    Returns
    -------
    pandas.DataFrame
        One row a pair: `regulator`, `effector`, `mean` and `sd` over the cells, per unit of the clock; with `groupby`
        also the `group` and its number of cells, `n`.

    Raises
    ------
    ScnodeError
        No gene-level Jacobian is stored, or an unknown column.
    """
    import pandas as pd

    with stored_result(
        adata, Keys(key_added).uns, "jacobian", by="scnode.tl.jacobian(adata, regulators=, effectors=)"
    ) as stored:
        if stored is None:
            raise ScnodeError(
                "No gene-level Jacobian. Run scnode.tl.jacobian(adata, regulators=[...], effectors=[...])."
            )
        values = np.asarray(stored["values"])
        if groupby is None:
            return _table(stored, values)
        if groupby not in adata.obs:
            raise ScnodeError(f"adata.obs[{groupby!r}] not found. {near(groupby, adata.obs.columns)} Pass groupby=.")
        parts = [
            _table(stored, values[rows]).assign(group=str(name), n=len(rows))
            for name, rows in sorted(
                adata.obs.groupby(groupby, observed=True).indices.items(), key=lambda item: str(item[0])
            )
        ]
        return pd.concat(parts, ignore_index=True)


def _table(stored: dict[str, Any], values: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    effector, regulator = (a.ravel() for a in np.indices(values.shape[1:]))
    return pd.DataFrame(
        {
            "regulator": np.asarray(stored["regulators"], dtype=str)[regulator],
            "effector": np.asarray(stored["effectors"], dtype=str)[effector],
            "mean": values.mean(0).ravel(),
            "sd": values.std(0).ravel(),
        }
    )
