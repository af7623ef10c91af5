"""Optimal transport between two snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scnode.metrics import optimal_plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LARGEST = 2000


def couple(
    source: np.ndarray, target: np.ndarray, *, rng: np.random.Generator, mass: np.ndarray | None = None
) -> sp.csr_matrix:
    r"""Exact optimal transport plan between two clouds, squared Euclidean cost.

    :math:`\min_P \sum_{ij} P_{ij}\|x_i - y_j\|^2` with :math:`P1 = a`, :math:`P^\top 1 = 1/m` (:cite:p:`Peyre2019`),
    where a are the masses of the earlier cells scaled to sum to 1. Clouds above 2000 cells are coupled in random parts,
    so that the cost grows in proportion to their size (:cite:p:`Fatras2020`); the weights of the later cloud are then
    even up to the rounding of the parts' sizes and the share of the mass that falls to each.

    Parameters
    ----------
    source, target
        Shape (cell, latent).
    rng
        Deals cells to parts.
    mass
        Positive, shape (source,); equal by default.

    Returns
    -------
    scipy.sparse.csr_matrix
        Shape (source, target), of sum 1.
    """
    n, m = len(source), len(target)
    weight = np.full(n, 1 / n) if mass is None else mass / mass.sum()
    rows, columns = deal(n, m, rng)
    shares = [weight[i].sum() for i in rows]
    parts = [
        sp.coo_matrix(optimal_plan(source[i], target[j], weight[i] / share))
        for i, j, share in zip(rows, columns, shares, strict=True)
    ]
    entries = [
        (share * part.data, i[part.row], j[part.col])
        for share, part, i, j in zip(shares, parts, rows, columns, strict=True)
    ]
    weight, row, column = (np.concatenate(e) for e in zip(*entries, strict=True))
    return sp.csr_matrix((weight, (row, column)), shape=(n, m))


def deal(n: int, m: int, rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Row numbers of n earlier and m later cells in as many parts, none above 2000 cells."""
    n_parts = min(-(-max(n, m) // _LARGEST), n, m)
    rows, columns = (np.array_split(rng.permutation(k), n_parts) for k in (n, m))
    return rows, columns


@dataclass(frozen=True)
class Transport:
    """A plan between the cells of two times.

    Parameters
    ----------
    earlier, later
        Row numbers of the cells.
    elapsed
        Time between, in units of the clock.
    plan
        Weights, shape (earlier, later).
    start
        The earlier time on the clock.
    arm
        What the cells are under on the way.
    lent
        Whether the earlier cells are of another arm, so that the plan says nothing of how they move under their own.
    descendants
        Learned numbers of later cells that each earlier one stands for, mean 1, shape (earlier,).
    """

    earlier: np.ndarray
    later: np.ndarray
    elapsed: float
    plan: sp.csr_matrix
    start: float = 0.0
    arm: int = 0
    lent: bool = False
    descendants: np.ndarray | None = None


@dataclass(frozen=True)
class Bridge:
    """States between snapshots, where no cell was seen, and velocities that lead across.

    Parameters
    ----------
    latent, velocity
        Shape (state, latent).
    clock
        Times on the clock, shape (state,).
    arm
        What the states are under, shape (state,).
    """

    latent: np.ndarray
    velocity: np.ndarray
    clock: np.ndarray
    arm: np.ndarray


def chord_velocity(latent: np.ndarray, transports: Iterable[Transport]) -> tuple[np.ndarray, np.ndarray]:
    r"""Velocity of every cell along the plans that it is part of.

    The straight line from where a cell came from to where it goes, :math:`(x^+_i - x^-_i) / (h_- + h_+)`, with
    :math:`x^\pm_i` the means of its partners by the plans :math:`h_+` later and :math:`h_-` earlier, or the cell itself
    where there are none. The noise of a cell leads back to the others on both sides, :math:`x^\pm_i - x_i` in part,
    and cancels here. Slopes of both sides would be spread by it at the rate :math:`1/h_- - 1/h_+`.

    Returns
    -------
    tuple
        Velocity (cell, latent), zero for cells without a partner, and the mask of those that have one, (cell,).
    """
    velocity, elapsed = np.zeros_like(latent), np.zeros(len(latent))
    for step in transports:
        # Seen from the later time the partner is the past.
        sides = [(1, step.plan, step.earlier, step.later), (-1, step.plan.T.tocsr(), step.later, step.earlier)]
        for ahead, plan, own, other in sides[step.lent :]:
            mass = np.asarray(plan.sum(1)).ravel()
            tied = mass > 0
            partner = (plan @ latent[other])[tied] / mass[tied, None]
            velocity[own[tied]] += ahead * (partner - latent[own[tied]])
            elapsed[own[tied]] += step.elapsed
    found = elapsed > 0
    velocity[found] /= elapsed[found, None]
    return velocity, found


def bridge(
    latent: np.ndarray, velocity: np.ndarray, transports: Sequence[Transport], *, rng: np.random.Generator
) -> Bridge:
    r"""One state between the snapshots for every cell that has a later partner.

    A partner j is drawn by the plan; the state lies on the cubic from :math:`x_i` to :math:`x_j` whose velocities at
    the ends are :math:`v_i` and :math:`v_j`, at a uniform share of the time between, and moves along it
    (:cite:p:`Chewi2021`). A chord would cross the gap at one pace, whatever the cells do on both sides of it. At the
    ends no state moves faster than along its chord, as monotone cubics are kept from swinging out
    (:cite:p:`Fritsch1980`): a velocity from a short time between carries much noise into a long one.
    """
    parts = []
    for step in transports:
        tied = np.flatnonzero(np.asarray(step.plan.sum(1)).ravel() > 0)
        own, other = step.earlier[tied], step.later[_draw(step.plan[tied], rng)]
        start, end = latent[own], latent[other]
        chord = (end - start) / step.elapsed
        # Cells of another arm do not leave at the pace of this one.
        leaving, arriving = (_at_most(v, chord) for v in (chord if step.lent else velocity[own], velocity[other]))
        share = rng.random((len(tied), 1))
        between, moving = _cubic(share, step.elapsed, (start, end), (leaving, arriving))
        parts.append((between, moving, step.start + step.elapsed * share[:, 0], np.full(len(tied), step.arm)))
    return Bridge(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _at_most(velocity: np.ndarray, chord: np.ndarray) -> np.ndarray:
    """Velocities (state, latent) made no longer than the chords."""
    length, most = (np.linalg.norm(v, axis=1, keepdims=True) for v in (velocity, chord))
    return velocity * np.minimum(1, np.divide(most, length, out=np.ones_like(length), where=length > 0))


def _cubic(
    share: np.ndarray, elapsed: float, ends: tuple[np.ndarray, np.ndarray], velocities: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """States at a share of the time on cubics between ends (state, latent) of these velocities, and theirs."""
    (start, end), (leaving, arriving) = ends, velocities
    left, chord = 1 - share, (end - start) / elapsed
    along = share * left * elapsed * (left * (leaving - chord) - share * (arriving - chord))
    bend = left * (1 - 3 * share) * (leaving - chord) + share * (3 * share - 2) * (arriving - chord)
    return start + share * (end - start) + along, chord + bend


def _draw(plan: sp.csr_matrix, rng: np.random.Generator) -> np.ndarray:
    """One column of each row, by its weights."""
    # Running sums of the entries: a row's own begin where those before it end.
    ends = plan.data.cumsum()
    before = np.concatenate([[0.0], ends])[plan.indptr]
    wanted = before[:-1] + rng.random(plan.shape[0]) * np.diff(before)
    entry = np.searchsorted(ends, wanted, side="right")
    return plan.indices[np.clip(entry, plan.indptr[:-1], plan.indptr[1:] - 1)]
