"""Evidence that is named twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import EvidenceError
from scnode._validation import numeric_obs

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode.data._snapshots import Snapshots

_SAME = 1e-6


def check_said_once(adata: AnnData, key: str, snapshots: Snapshots) -> None:
    """A pseudotime says more than the collection times do: it varies among the cells of one time."""
    if key != snapshots.key:
        time = numeric_obs(adata, key, argument="pseudotime_key")
        within = max(np.ptp(time[snapshots.days == day]) for day in snapshots.kept)
        if within > _SAME * np.ptp(time):
            return
    raise EvidenceError(
        f"pseudotime_key={key!r} has one value for each time of time_key={snapshots.key!r}: the days would count "
        "twice. Leave pseudotime_key= out."
    )
