"""Committors of the fitted field: which terminal group a cell reaches first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._settings import logger
from scnode.data import Neighbors
from scnode.tl._transition_matrix import transitions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import scipy.sparse as sp
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_N_NEIGHBORS = 30
_SHARED = 0.5
_N_BUMPS = 30
_CELLS_PER_BUMP = 10
_WIDTH = 0.1
# Weight of a squared coefficient against the mean equation of a cell: bumps are the dearer.
_PLANE, _BUMP = 1e-3, 3e-2
_N_RESAMPLES = 50
# Walks along the data take tens to hundreds of steps, those out of a trap up to millions.
_MOST_STEPS, _LIKELY = 10_000, 0.5


@dataclass(frozen=True)
class Committor:
    """Probability of every group, and its standard error, both (cell, group)."""

    probability: Floats
    se: Floats


def signal_axes(latent: Floats) -> Floats:
    """Principal axes (latent, axis) along which a cell's neighbours share over half of the variance."""
    centred = latent - latent.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2].T
    scores = centred @ axes
    total = scores.var(0)
    shared = Neighbors.of(latent, k=_N_NEIGHBORS).mean(scores).var(0) > _SHARED * total
    shared[0] = True
    return axes[:, shared & (total > 0)]


def committor(latent: Floats, velocities: Floats, labels: Floats, *, rng: np.random.Generator) -> Committor:
    r"""Galerkin approximation of the committor of the chain that walks along the velocity.

    Where the field holds the chain in place, so that it hardly ever arrives, the equation says next to nothing: any
    value that is the same all over such a trap solves it. Cells there take the mean of the nearest cells from which
    it does arrive.

    Parameters
    ----------
    latent
        States, shape (cell, latent).
    velocities
        One velocity a member, shape (member, cell, latent).
    labels
        One where a cell is in the group, shape (cell, group); rows of zeros for the cells in question.
    rng
        Source of the bumps' places and of the bootstrap.
    """
    axes = signal_axes(latent)
    states = (latent - latent.mean(0)) @ axes
    live = labels.sum(1) == 0
    near = Neighbors.of(states, k=_N_NEIGHBORS + 1).index[:, 1:]
    steps = [transitions(states, velocity @ axes, near=near) for velocity in velocities]
    arrives = _arrives(sum(steps) / len(steps), live)
    if not arrives.any():
        raise ScnodeError("No cell moves into a terminal group along the field. Pass groups= that lie downstream.")
    basis, penalty = _basis(states, arrives, rng)
    basis = _extended(basis * live[:, None], states, arrives, live & ~arrives)
    leaks = [(basis - step @ basis)[arrives] for step in steps]
    arrivals = [(step @ labels)[arrives] for step in steps]
    here = basis[arrives]
    mean = _solve(here, np.mean(leaks, axis=0), np.mean(arrivals, axis=0), penalty)
    drawn = _resampled(here, leaks, arrivals, penalty, rng)
    probability, se = labels.copy(), np.zeros_like(labels)
    probability[live] = _simplex(basis[live] @ mean)
    se[live] = np.std([_simplex(basis[live] @ coefficients) for coefficients in drawn], axis=0, ddof=1)
    return Committor(probability, se)


def _arrives(chain: sp.csr_matrix, live: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells in question from which the chain comes to a terminal group, more likely than not, in `_MOST_STEPS`."""
    arrived = np.where(live, 0.0, 1.0)
    for _ in range(_MOST_STEPS):
        before, late = arrived, arrived < _LIKELY
        arrived = np.where(live, chain @ before, 1.0)
        # At this pace none of the others would arrive in time either.
        if not ((arrived - before)[late] * _MOST_STEPS > (_LIKELY - arrived)[late]).any():
            break
    return live & (arrived >= _LIKELY)


def _extended(basis: Floats, states: Floats, known: NDArray[np.bool_], asked: NDArray[np.bool_]) -> Floats:
    """The basis with the rows asked for set to the mean of the nearest that are known."""
    from sklearn.neighbors import NearestNeighbors

    if not asked.any():
        return basis
    logger.warning(
        "The field holds %d cells where they are, away from all terminal groups: they take the fates of the nearest "
        "cells that it does not hold. Pass groups= that lie downstream of them, or do not ask about them.",
        asked.sum(),
    )
    search = NearestNeighbors(n_neighbors=min(_N_NEIGHBORS, int(known.sum()))).fit(states[known])
    nearest = search.kneighbors(states[asked], return_distance=False)
    whole = basis.copy()
    whole[asked] = basis[known][nearest].mean(1)
    return whole


def _basis(states: Floats, live: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A constant, planes and Gaussian bumps over the states, with the penalty of each coefficient."""
    from sklearn.cluster import KMeans

    n_bumps = min(_N_BUMPS, int(live.sum()) // _CELLS_PER_BUMP)
    planes = states / states.std(0)
    parts, penalty = [np.ones((len(states), 1)), planes], [0.0] + [_PLANE] * planes.shape[1]
    if n_bumps:
        seed = int(rng.integers(2**31))
        centres = KMeans(n_bumps, n_init=1, random_state=seed).fit(states[live]).cluster_centers_
        distance = ((states**2).sum(1)[:, None] - 2 * states @ centres.T + (centres**2).sum(1)).clip(0)
        parts.append(np.exp(-distance / (2 * _WIDTH * np.median(distance) + np.finfo(float).tiny)))
        penalty += [_BUMP] * n_bumps
    return np.concatenate(parts, axis=1), np.array(penalty)


def _solve(test: Floats, leak: Floats, arrival: Floats, penalty: Floats) -> Floats:
    """Coefficients (basis, group) at which the residual of the equation is orthogonal to `test`."""
    matrix = test.T @ leak / len(test) + np.diag(penalty)
    return np.asarray(np.linalg.lstsq(matrix, test.T @ arrival / len(test))[0], dtype=float)


def _resampled(
    here: Floats, leaks: Sequence[Floats], arrivals: Sequence[Floats], penalty: Floats, rng: np.random.Generator
) -> Floats:
    """Coefficients (resample, basis, group) of members and cells drawn with replacement."""
    drawn = []
    for _ in range(_N_RESAMPLES):
        member = int(rng.integers(len(leaks)))
        counts = rng.multinomial(len(here), np.full(len(here), 1 / len(here)))[:, None]
        drawn.append(_solve(here * counts, leaks[member], arrivals[member], penalty))
    return np.stack(drawn)


def _simplex(values: Floats) -> Floats:
    """Rows clipped to [0, 1] and scaled to sum to 1."""
    kept = values.clip(0, 1)
    total = kept.sum(1, keepdims=True)
    return np.divide(kept, total, out=np.full_like(kept, 1 / kept.shape[1]), where=total > 0)
