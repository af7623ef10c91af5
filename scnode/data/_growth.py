"""How fast cells multiply, given or learned from snapshots."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import EvidenceError
from scnode._validation import numeric_obs
from scnode.data._coupling import deal
from scnode.data._neighbors import Neighbors
from scnode.metrics import optimal_plan
from scnode.metrics._wasserstein import require_pot

if TYPE_CHECKING:
    from collections.abc import Sequence

    import scipy.sparse as sp
    from anndata import AnnData

    from scnode.data._coupling import Transport
    from scnode.data._snapshots import Snapshots

_MOST = 1e6
# In units of what transport gains: the price of unequal growth, and the blur of a plan.
_PRICE, _BLUR = 0.25, 0.05
_ROUNDS, _SETTLED = 12, 0.01
_N_NEAR = 15
_LEAST = 1e-3


def read_growth(adata: AnnData, key: str, snapshots: Snapshots) -> np.ndarray:
    """Net rate of division and death of every cell, per unit of the clock, from a column per unit of `time_key`."""
    rate = numeric_obs(adata, key, argument="growth_key")
    fold = float(np.exp(np.minimum(np.ptp(rate) * np.diff(snapshots.kept).max(), 700)))
    if fold > _MOST:
        raise EvidenceError(
            f"By adata.obs[{key!r}] one cell leaves {fold:.2g} times as many descendants as another between two times "
            f"of adata.obs[{snapshots.key!r}]. Its unit is 1/{snapshots.key}, ln 2 over the time of a doubling: "
            f"rescale adata.obs[{key!r}], or leave growth_key= out."
        )
    return rate * snapshots.span


def relative_mass(growth: np.ndarray, elapsed: float) -> np.ndarray:
    """What cells of these rates are worth after this time, the most prolific 1."""
    return np.exp((growth - growth.max()) * elapsed)


def learn_descendants(
    source: np.ndarray, target: np.ndarray, mass: np.ndarray, *, rng: np.random.Generator
) -> np.ndarray:
    r"""Number of later cells that each earlier one stands for, relative to their mean.

    Entropic optimal transport in which every later cell has an origin, and unequal numbers of descendants a price
    (:cite:p:`Chizat2018`):

    .. math::

        \min_{P^\top 1 = 1/m} \sum_{ij} P_{ij} C_{ij} + 0.25\,S\,\mathrm{KL}(P1 \,|\, a)
            + 0.05\,S\,\mathrm{KL}(P \,|\, a \otimes 1/m)

    with a the masses expected, and :math:`S = \langle C, a \otimes 1/m \rangle - \min_P \langle C, P \rangle` what the
    best balanced plan saves over chance, which no constant added to the cost changes. The cost is
    :math:`C_{ij} = \|x_i + d_i - y_j\|^2`: motion that cells share with their neighbours is no reason for growth, and
    :math:`d_i`, the mean displacement of the neighbours of i, is taken out, round after round until
    the numbers :math:`P1` change by less than 1 %, or twelve times. They are averaged over 15 neighbours. Large clouds
    are taken in parts, as for :func:`couple`.

    Parameters
    ----------
    source, target
        Shape (cell, latent).
    mass
        Expected numbers, shape (source,).
    rng
        Deals cells to parts.
    """
    number = np.empty(len(source))
    for rows, columns in zip(*deal(len(source), len(target), rng), strict=True):
        number[rows] = len(rows) * _numbers(source[rows], target[columns], mass[rows])
    return _smoothed(number, source)


def _numbers(source: np.ndarray, target: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Earlier marginal of the plan, shape (source,), of sum 1."""
    from scipy.spatial.distance import cdist

    neighbors, shift = Neighbors.of(source, k=_N_NEAR), np.zeros_like(source)
    number = mass / mass.sum()
    for _ in range(_ROUNDS):
        before = number
        cost = cdist(source + shift, target, "sqeuclidean")
        plan = _unbalanced_plan(cost, source + shift, target, mass / mass.sum())
        number = plan.sum(1)
        if np.abs(number - before).sum() < _SETTLED:
            break
        kept = number > _LEAST / len(source)
        moved = np.zeros_like(source)
        moved[kept] = plan[kept] @ target / number[kept, None] - source[kept]
        shift = neighbors.mean(moved) / np.maximum(neighbors.mean(kept), _LEAST)[:, None]
    return number


def _unbalanced_plan(cost: np.ndarray, source: np.ndarray, target: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Plan of which the later marginal is kept and the earlier has a price."""
    ot, even = require_pot(), np.full(len(target), 1 / len(target))
    best = float((optimal_plan(source, target, mass, even) * cost).sum())
    gain = max(float(mass @ cost @ even) - best, np.finfo(float).tiny)
    # Later cells have an origin whatever it costs: the least of each column is free, and exponentials stay in range.
    excess = cost - cost.min(0)
    # POT tells of rounds that did not converge to its tolerance, which is far below what is read from the plan.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = ot.unbalanced.sinkhorn_unbalanced(
            mass, even, excess, reg=_BLUR * gain, reg_m=(_PRICE * gain, float("inf")), numItermax=1000
        )
    if not np.isfinite(plan).all():
        raise EvidenceError(
            f"No unbalanced plan between snapshots of {len(source)} and {len(target)} cells. Drop cells far off the "
            "others, or leave unbalanced= out."
        )
    return np.asarray(plan)


def descendants_of(plan: sp.csr_matrix, source: np.ndarray) -> np.ndarray:
    """The same by a given plan (source, target), the numbers averaged over neighbours."""
    return _smoothed(np.asarray(plan.sum(1)).ravel(), source)


def _smoothed(number: np.ndarray, source: np.ndarray) -> np.ndarray:
    smooth = Neighbors.of(source, k=_N_NEAR).mean(number)
    if not smooth.any():
        return np.ones(len(source))
    smooth = np.maximum(smooth, _LEAST * smooth.mean())
    return smooth / smooth.mean()


def learned_growth(n_cells: int, transports: Sequence[Transport]) -> np.ndarray:
    r"""Rate :math:`\ln(\text{descendants}) / \Delta t` of every cell, shape (n_cells,), per unit of the clock.

    A cell that no later time follows has the mean rate of its origins; one that nothing is known of, rate 0.
    """
    rate, own = np.zeros(n_cells), np.zeros(n_cells, dtype=bool)
    for step in transports:
        if step.descendants is not None:
            rate[step.earlier] = np.log(step.descendants) / step.elapsed
            own[step.earlier] = True
    for step in transports:
        mass = np.asarray(step.plan.sum(0)).ravel()
        last = (mass > 0) & ~own[step.later]
        rate[step.later[last]] = (step.plan.T @ rate[step.earlier])[last] / mass[last]
    return rate
