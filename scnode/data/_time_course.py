"""Velocity from cells collected at several times."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scnode._errors import EvidenceError
from scnode._validation import near
from scnode.data._coupling import Transport, bridge, chord_velocity, couple
from scnode.data._growth import descendants_of, learn_descendants, learned_growth, read_growth, relative_mass
from scnode.data._source import Evidence
from scnode.data._velocity import tangent_among

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode.data._snapshots import Snapshots
    from scnode.data._source import Space


def time_course_evidence(
    adata: AnnData,
    snapshots: Snapshots,
    space: Space,
    *,
    coupling_key: str | None,
    rng: np.random.Generator,
    growth_key: str | None = None,
    unbalanced: bool = False,
) -> Evidence:
    r"""Velocity of every cell from transport plans between its snapshot and those beside it.

    A cell of snapshot k moves to the mean of its partners in snapshot k + 1, and has come from the mean of those in
    k - 1; its velocity leads from these to those in the real time of the snapshots, kept along the directions in which
    cells lie. Between the snapshots cells follow the cubics that these velocities make. Under an input all this holds
    within an arm; untreated cells that start one say nothing of their own motion.

    Parameters
    ----------
    adata
        Cells.
    snapshots
        Their collection times.
    space
        Latent states.
    coupling_key
        `obsp` entry (cell, cell) with given couplings, the rows earlier cells; by default exact optimal transport.
    rng
        Source of randomness.
    growth_key
        `obs` column of rates at which cells multiply: an earlier cell then counts :math:`e^{g\,\Delta t}` times.
    unbalanced
        Whether to learn such rates, starting from those given.
    """
    growth = None if growth_key is None else read_growth(adata, growth_key, snapshots)
    transports = _transports(snapshots, space, _given(adata, coupling_key), rng, growth=growth, learn=unbalanced)
    if not transports:
        raise EvidenceError(
            f"No arm of the input is seen at two times of adata.obs[{snapshots.key!r}], nor are untreated cells seen "
            "before it. Add untreated cells of the first time, round an input that differs from cell to cell, or leave "
            "control_key= out."
        )
    velocity, found = chord_velocity(space.latent, transports)
    if not found.any():
        raise EvidenceError(
            f"adata.obsp[{coupling_key!r}] couples no cells of successive times. Its rows are the "
            "earlier cells: pass coupling_key= with such a matrix, or leave it out for optimal transport."
        )
    kept, se = tangent_among(found, space.latent, velocity, space.neighbors, space.crowd)
    arms = space.all_arms
    if arms.rest:
        # As sure as the others: nothing was seen that says otherwise.
        se[arms.number == arms.reference] = np.median(se[found])
    where = "exact optimal transport" if coupling_key is None else f"obsp[{coupling_key!r}]"
    where += "" if growth_key is None else f", growth by obs[{growth_key!r}]"
    where += ", growth learned" if unbalanced else ""
    source = f"obs[{snapshots.key!r}] ({len(snapshots.kept)} time points, coupled by {where})"
    between = bridge(space.latent, kept, transports, rng=rng)
    if unbalanced:
        growth = learned_growth(len(space.latent), transports)
    return Evidence("time", source, kept, se, snapshots.clock, bridge=between, growth=growth)


def _transports(
    snapshots: Snapshots,
    space: Space,
    given: sp.csr_matrix | None,
    rng: np.random.Generator,
    *,
    growth: np.ndarray | None,
    learn: bool,
) -> list[Transport]:
    arms, times, transports = space.all_arms, snapshots.times, []
    for arm, course in enumerate(arms.courses(snapshots)):
        for start, end in itertools.pairwise(course):
            earlier, later = (arms.rows(snapshots, stop) for stop in (start, end))
            before, after = (float(times[stop[1]]) for stop in (start, end))
            lent = bool(start[0] != arm)
            source, target = space.latent[earlier], space.latent[later]
            mass = np.ones(len(earlier)) if growth is None else relative_mass(growth[earlier], after - before)
            if given is None:
                number = learn_descendants(source, target, mass, rng=rng) if learn else None
                plan = couple(source, target, rng=rng, mass=mass if number is None else number)
            else:
                plan = sp.csr_matrix(given[earlier][:, later])
                number = descendants_of(plan, source) if learn else None
            transports.append(Transport(earlier, later, after - before, plan, before, arm, lent, number))
    return transports


def _given(adata: AnnData, key: str | None) -> sp.csr_matrix | None:
    """Couplings of another tool, moscot's for one, that the user put between all cells."""
    if key is None:
        return None
    if key not in adata.obsp:
        raise EvidenceError(f"adata.obsp[{key!r}] not found. {near(key, adata.obsp)} Pass coupling_key=.")
    matrix = sp.csr_matrix(adata.obsp[key], dtype=float)
    if not np.isfinite(matrix.data).all() or (matrix.data < 0).any():
        raise EvidenceError(f"adata.obsp[{key!r}] holds negative or infinite weights. Pass a transport plan.")
    return matrix
