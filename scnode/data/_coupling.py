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

    :math:`v_i` is the mean of :math:`\sum_j P_{ij}(x_j - x_i) / (\Delta t \sum_j P_{ij})` over the plan to a later time
    and of the same over the plan from an earlier one.

    Returns
    -------
    tuple
        Velocity (cell, latent), zero for cells without a partner, and the mask of those that have one, (cell,).
    """
    velocity, n_sides = np.zeros_like(latent), np.zeros(len(latent))
    for step in transports:
        sides = [(step.plan, step.earlier, step.later), (step.plan.T.tocsr(), step.later, step.earlier)]
        for plan, own, other in sides[step.lent :]:
            mass = np.asarray(plan.sum(1)).ravel()
            tied = mass > 0
            partner = (plan @ latent[other])[tied] / mass[tied, None]
            # Seen from the later time the partner is the past.
            elapsed = step.elapsed if own is step.earlier else -step.elapsed
            velocity[own[tied]] += (partner - latent[own[tied]]) / elapsed
            n_sides[own[tied]] += 1
    found = n_sides > 0
    velocity[found] /= n_sides[found, None]
    return velocity, found


def bridge(latent: np.ndarray, transports: Sequence[Transport], *, rng: np.random.Generator) -> Bridge:
    r"""One state between the snapshots for every cell that has a later partner.

    A partner j is drawn by the plan; the state is :math:`(1-s) x_i + s x_j` with uniform s, and its velocity
    :math:`(x_j - x_i)/\Delta t` (:cite:p:`Tong2024`).
    """
    parts = []
    for step in transports:
        tied = np.flatnonzero(np.asarray(step.plan.sum(1)).ravel() > 0)
        start, end = latent[step.earlier[tied]], latent[step.later[_draw(step.plan[tied], rng)]]
        along = rng.random((len(tied), 1))
        clock = step.start + step.elapsed * along[:, 0]
        between = (1 - along) * start + along * end
        parts.append((between, (end - start) / step.elapsed, clock, np.full(len(tied), step.arm)))
    return Bridge(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _draw(plan: sp.csr_matrix, rng: np.random.Generator) -> np.ndarray:
    """One column of each row, by its weights."""
    # Running sums of the entries: a row's own begin where those before it end.
    ends = plan.data.cumsum()
    before = np.concatenate([[0.0], ends])[plan.indptr]
    wanted = before[:-1] + rng.random(plan.shape[0]) * np.diff(before)
    entry = np.searchsorted(ends, wanted, side="right")
    return plan.indices[np.clip(entry, plan.indptr[:-1], plan.indptr[1:] - 1)]
