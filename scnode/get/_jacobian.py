"""The gene level of the Jacobian as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def jacobian(adata: AnnData, *, key_added: str = DEFAULT) -> pd.DataFrame:
    r"""Mean response :math:`\partial\dot x_e/\partial x_r` over the cells.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.jacobian` with `regulators` and `effectors`.
    key_added
        Name of the run.

    Returns
    -------
    pandas.DataFrame
        One row a pair: `regulator`, `effector`, `mean` and `sd` over the cells, per unit of the clock.

    Raises
    ------
    ScnodeError
        No gene-level Jacobian is stored.
    """
    import pandas as pd

    stored = adata.uns.get(Keys(key_added).uns, {}).get("jacobian")
    if stored is None:
        raise ScnodeError("No gene-level Jacobian. Run scnode.tl.jacobian(adata, regulators=[...], effectors=[...]).")
    values = np.asarray(stored["values"])
    effector, regulator = (a.ravel() for a in np.indices(values.shape[1:]))
    return pd.DataFrame(
        {
            "regulator": np.asarray(stored["regulators"], dtype=str)[regulator],
            "effector": np.asarray(stored["effectors"], dtype=str)[effector],
            "mean": values.mean(0).ravel(),
            "sd": values.std(0).ravel(),
        }
    )
