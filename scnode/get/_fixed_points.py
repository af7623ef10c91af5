"""Fixed points and limit cycles as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode.model import stored_result

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def fixed_points(adata: AnnData, *, key_added: str = DEFAULT) -> pd.DataFrame:
    r"""Where the field stands still or goes round, the widest basin first.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fixed_points`.
    key_added
        Name of the run.

    Returns
    -------
    pandas.DataFrame
        One row a fixed point or limit cycle: `kind`, `group` of the nearest cells, `basin`, the share of the cells
        that end there, `rate`, the largest real part of its eigenvalues (1 per unit of the clock), `time_scale`,
        :math:`1/|\text{rate}|`, `n_unstable`, how many directions lead away, `excess`, 0 among the cells, and
        `period`; what an orbit or a point does not have is missing.

    Raises
    ------
    ScnodeError
        No fixed points are stored.
    """
    import pandas as pd

    with stored_result(adata, Keys(key_added).uns, "fixed_points", by="scnode.tl.fixed_points(adata)") as stored:
        if stored is None:
            raise ScnodeError("No fixed points are stored. Run scnode.tl.fixed_points(adata) first.")
        real = np.split(np.asarray(stored["eigenvalues"], dtype=float), 2, axis=1)[0]
        points = pd.DataFrame(
            {
                "kind": np.asarray(stored["kind"], dtype=str),
                "group": np.asarray(stored["group"], dtype=str),
                "basin": np.asarray(stored["basin"], dtype=float),
                "rate": real[:, 0],
                "time_scale": 1 / np.maximum(np.abs(real[:, 0]), np.finfo(float).tiny),
                "n_unstable": pd.array((real > 0).sum(1), dtype="Int64"),
                "excess": np.asarray(stored["excess"], dtype=float),
                "period": np.nan,
            }
        )
        orbits = pd.DataFrame(
            {
                "kind": "limit cycle",
                "group": np.asarray(stored["orbit_group"], dtype=str),
                "basin": np.asarray(stored["orbit_basin"], dtype=float),
                "period": np.asarray(stored["period"], dtype=float),
            }
        )
        table = pd.concat([part for part in (points, orbits) if len(part)] or [points], ignore_index=True)
        return table.sort_values("basin", ascending=False, kind="stable", ignore_index=True)
