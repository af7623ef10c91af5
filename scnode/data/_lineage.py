"""Velocity from clones that were seen on several days."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from scnode._errors import EvidenceError
from scnode._settings import logger
from scnode._validation import near
from scnode.data._coupling import Transport, chord_velocity
from scnode.data._source import Evidence
from scnode.data._velocity import tangent_among

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scnode.data._arms import Arms
    from scnode.data._snapshots import Snapshots
    from scnode.data._source import Space


def lineage_evidence(adata: AnnData, key: str, snapshots: Snapshots | None, space: Space) -> Evidence:
    r"""Velocity of every cell of a clone towards its clone's cells at the next time the clone is seen.

    With :math:`C` (cell, clone), cells i and j of successive times are partners with weight
    :math:`\sum_c C_{ic} C_{jc} / n_c`, :math:`n_c` the partners that the clone offers, where both are of one arm; the
    velocity is the mean
    displacement to (and from) partners over the time between, kept along the directions in which cells lie.

    Parameters
    ----------
    adata
        Cells.
    key
        `obs` column of barcodes, missing where a cell has none, or `obsm` matrix (cell, clone).
    snapshots
        Collection times of the cells.
    space
        Latent states.
    """
    if snapshots is None:
        raise EvidenceError(f"lineage_key={key!r} ties cells of different days. Pass time_key= as well.")
    clones = read_clones(adata, key)
    transports, tied = _transports(clones, snapshots, space.all_arms)
    velocity, found = chord_velocity(space.latent, transports)
    if not found.any():
        raise EvidenceError(
            f"No clone of {key!r} was seen at two times of {snapshots.key!r}. Leave lineage_key= out, or pass the "
            "barcodes of all days."
        )
    kept, se = tangent_among(found, space.latent, velocity, space.neighbors, space.crowd)
    logger.info("%d of %d clones were seen at several times; they tie %d cells.", tied.sum(), len(tied), found.sum())
    return Evidence("lineage", f"{key!r} ({tied.sum()} clones seen at several times)", kept, se, snapshots.clock)


def _transports(clones: sp.csr_matrix, snapshots: Snapshots, arms: Arms) -> tuple[list[Transport], np.ndarray]:
    """Plans between the times at which clones are seen and seen next, and the clones that have such."""
    rows, times = snapshots.rows, snapshots.times
    seen = [np.asarray(clones[r].sum(0)).ravel() > 0 for r in rows]
    tied, transports = np.zeros(clones.shape[1], dtype=bool), []
    for a, b in combinations(range(len(rows)), 2):
        between = np.any(seen[a + 1 : b], axis=0) if b > a + 1 else np.zeros_like(tied)
        members = np.flatnonzero(seen[a] & seen[b] & ~between)
        if len(members):
            tied[members] = True
            elapsed = float(times[b] - times[a])
            plan = arms.within(_partners(clones[:, members], rows[a], rows[b]), rows[a], rows[b])
            transports.append(Transport(rows[a], rows[b], elapsed, plan))
    return transports, tied


def _partners(clones: sp.csr_matrix, earlier: np.ndarray, later: np.ndarray) -> sp.csr_matrix:
    offered = np.asarray(clones[later].sum(0)).ravel()
    return sp.csr_matrix(clones[earlier] @ sp.diags(1 / offered) @ clones[later].T)


def read_clones(adata: AnnData, key: str) -> sp.csr_matrix:
    """Membership (cell, clone) from a column of barcodes or a matrix in `obsm`."""
    if key in adata.obs:
        clones = _of_column(adata.obs[key])
    elif key in adata.obsm:
        clones = _of_matrix(adata.obsm[key], key)
    else:
        raise EvidenceError(
            f"{key!r} is in neither adata.obs nor adata.obsm. {near(key, [*adata.obs.columns, *adata.obsm])} "
            "Pass lineage_key=."
        )
    number = np.asarray(clones.sum(0)).ravel()
    if (number > 0).sum() < 2:
        raise EvidenceError(
            f"{key!r} holds {(number > 0).sum()} clone: cells of one clone say nothing that the days do not. "
            "Leave lineage_key= out, or pass a column of barcodes."
        )
    return clones


def _of_column(column: pd.Series) -> sp.csr_matrix:
    import pandas as pd

    labels = column.astype(object)
    # A file turns missing barcodes into empty ones.
    codes, names = pd.factorize(labels.where(labels != ""))
    known = np.flatnonzero(codes >= 0)
    return sp.csr_matrix((np.ones(len(known)), (known, codes[known])), shape=(len(labels), len(names)))


def _of_matrix(matrix: Any, key: str) -> sp.csr_matrix:
    entries = matrix if sp.issparse(matrix) else np.asarray(matrix)
    if entries.dtype.kind not in "biuf":
        raise EvidenceError(
            f"adata.obsm[{key!r}] is {entries.dtype}, not numeric. Pass a matrix (cell, clone) of 0 and 1."
        )
    return sp.csr_matrix((sp.csr_matrix(entries) > 0).astype(float))
