"""The time at which a field is asked at each cell: the cell's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Tensor

    from scnode._keys import Keys
    from scnode.model import LatentODE


def cell_clock(adata: AnnData, model: LatentODE, keys: Keys) -> Tensor:
    """Clock of every cell as a column (cell, 1), the same 0 for all where the field does not ask for it."""
    import torch

    if not model.field.time_dependent:
        return torch.zeros(adata.n_obs, 1)
    if keys.time not in adata.obs:
        raise ScnodeError(
            f"adata.obs[{keys.time!r}] not found, and the field depends on it. Run scnode.tl.fit(adata) again, or "
            "scnode.tl.map with the object of the fitted cells."
        )
    clock = adata.obs[keys.time].to_numpy(dtype=np.float32)
    if not np.isfinite(clock).all():
        raise ScnodeError(
            f"adata.obs[{keys.time!r}] is not finite in {(~np.isfinite(clock)).sum()} cells, and the field depends on "
            "it. Drop those cells."
        )
    return torch.as_tensor(clock)[:, None]


def own_times(model: LatentODE, clock: Tensor, elapsed: Tensor) -> Tensor:
    """Times since the start as the field counts them: (time,), or (cell, time) from the clock of each cell."""
    return clock + elapsed if model.field.time_dependent else elapsed
