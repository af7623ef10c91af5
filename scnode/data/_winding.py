"""A phase from velocities that go round."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from scnode.data._flow import Flow
from scnode.data._neighbors import Neighbors

# Midway between simulated cycles (share of the winding from 0.85, every cell turns) and simulated trees and pancreas
# (share up to 0.05, up to 0.87 of the cells turn).
_LEAST_WINDING, _LEAST_TURNING = 0.45, 0.93
_WIDEST_ARC = 0.25
_STEP = 1.4
_SHORTEST = 8.0
_MOST_SCANNED, _N_NEAREST = 2500, 5
_FEWEST = 20


@dataclass(frozen=True)
class Winding:
    r"""How much of a flow goes round, and the phase of each cell on the way.

    Parameters
    ----------
    potential, winding
        Shares of the flow on the neighbour graph that a potential explains, and that one closed way around explains
        beyond it.
    turning
        Share of the cells that the velocity carries forward on that way.
    period
        Of one round, in the time unit of the velocity.
    phase
        In [0, 1), 0 where the cells are sparsest in phase, shape (cell,).
    """

    potential: float = 0.0
    winding: float = 0.0
    turning: float = 0.0
    period: float = 0.0
    phase: np.ndarray | None = None

    @property
    def widest_arc(self) -> float:
        """Longest stretch of phase without a cell."""
        if self.phase is None:
            return 1.0
        order = np.sort(self.phase)
        return float(np.diff(order, append=order[0] + 1).max())

    @property
    def is_cycle(self) -> bool:
        """Whether most of the flow winds, nearly all cells go along, and no stretch of the way is empty."""
        return self.winding >= _LEAST_WINDING and self.turning >= _LEAST_TURNING and self.widest_arc <= _WIDEST_ARC


def find_winding(latent: np.ndarray, velocity: np.ndarray, neighbors: Neighbors) -> Winding:
    r"""Closed way that explains most of the flow.

    With :math:`\tau_{ij}` the time that the velocity needs along an edge, the Hermitian matrix
    :math:`H_{ij} \propto w_{ij} e^{2\pi i \tau_{ij}/T}` of a trial period T has a leading eigenvector whose argument
    is a phase :math:`\varphi` (magnetic eigenmaps, :cite:p:`Fanuel2018`). Its wrapped differences
    :math:`\omega_{ij} \in [-1/2, 1/2)` hold the class of the way that it winds along, and least squares,
    :math:`\min_{T, a} \sum_{ij} w_{ij} (\tau_{ij} - T \omega_{ij} - a_j + a_i)^2`, gives period, potential and the
    phase :math:`\varphi + a/T`. Nothing is gained over a potential alone (:cite:p:`Jiang2011`) where nothing winds.
    Periods are scanned on a logarithmic grid; the classes that wind twice or more explain as much at half the period or
    less, so the longest period wins. Above 2500 cells the grid is scanned on an even choice of them, and the
    phase is carried to the others and fitted again.

    Parameters
    ----------
    latent, velocity
        Shape (cell, latent).
    neighbors
        Graph whose edges are used.
    """
    stride = -(-len(latent) // _MOST_SCANNED)
    if len(latent) < _FEWEST or not velocity.any():
        return Winding()
    if stride == 1:
        return _scan(Flow.of(latent, velocity, neighbors))
    some = latent[::stride]
    found = _scan(Flow.of(some, velocity[::stride], Neighbors.of(some, k=neighbors.index.shape[1])))
    if found.phase is None:
        return found
    flow = Flow.of(latent, velocity, neighbors)
    return replace(found, phase=_carry(found.phase, some, latent, flow=flow, period=found.period))


def _carry(known: np.ndarray, some: np.ndarray, latent: np.ndarray, *, flow: Flow, period: float) -> np.ndarray:
    """Phase of every cell: the mean of the nearest of some, and what the flow along the edges adds to it."""
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=_N_NEAREST).fit(some).kneighbors(latent, return_distance=False)
    phase = mean_phase(known[index])
    return _from_sparsest(phase + flow.potential_of(flow.time / period - wrap(flow.differences(phase))))


def wrap(turns: np.ndarray) -> np.ndarray:
    """The same turns in [-1/2, 1/2], whole ones left out."""
    return turns - np.round(turns)


def mean_phase(phase: np.ndarray) -> np.ndarray:
    """Mean direction over the last axis, in [0, 1)."""
    turns = np.angle(np.exp(2j * np.pi * phase).mean(-1)) / (2 * np.pi)
    return _unit(turns)


def _unit(turns: np.ndarray) -> np.ndarray:
    """Modulo 1, where a tiny negative number must not round to 1."""
    rest = turns % 1.0
    return np.where(rest >= 1.0, 0.0, rest)


def _scan(flow: Flow) -> Winding:
    usual = float(np.median(np.abs(flow.time)))
    longest = max(np.log(flow.n_cells / _SHORTEST) / np.log(_STEP), 1.0)
    periods = usual * _SHORTEST * _STEP ** np.arange(np.ceil(longest) + 1)
    found = [_wind(flow, period) for period in periods if period > 0]
    most = max((f.winding for f in found), default=0.0)
    same = [f for f in found if f.winding >= 0.9 * most]
    return max(same, key=lambda f: f.period, default=Winding(potential=flow.potential_share))


def _wind(flow: Flow, period: float) -> Winding:
    """The way that the leading eigenvector of a trial period winds along."""
    none = Winding(potential=flow.potential_share)
    angle = _leading_argument(flow, period)
    if angle is None:
        return none
    step = wrap(flow.differences(angle))
    exact = flow.potential_of(step)
    harmonic = step - flow.differences(exact)
    size = flow.inner(harmonic, harmonic)
    if size <= 1e-3 * flow.inner(step, step):
        return none
    along = flow.inner(harmonic, flow.residual)
    fitted = along / size
    if fitted == 0:
        return none
    phase = np.sign(fitted) * (angle + flow.potential / fitted - exact)
    return Winding(
        potential=flow.potential_share,
        winding=along * fitted / flow.size,
        turning=float((flow.at_cells(flow.time * harmonic) * np.sign(fitted) > 0).mean()),
        period=abs(fitted),
        phase=_from_sparsest(phase),
    )


def _leading_argument(flow: Flow, period: float) -> np.ndarray | None:
    """Argument of the leading eigenvector of the magnetic adjacency, in turns."""
    degree = flow.at_cells(flow.weight)
    entry = flow.weight * np.exp(2j * np.pi * flow.time / period)
    entry /= np.sqrt(degree[flow.head] * degree[flow.tail])
    n = flow.n_cells
    place = (np.r_[flow.head, flow.tail], np.r_[flow.tail, flow.head])
    hermitian = sp.csr_matrix((np.r_[entry.conj(), entry], place), shape=(n, n))
    # A vector that winds evenly is orthogonal to ones: from those, versions of SciPy find another.
    start = np.exp(2j * np.pi * np.random.default_rng(0).random(n))
    try:
        vector = eigsh(hermitian, k=1, which="LA", tol=1e-4, v0=start)[1]
    except ArpackNoConvergence:
        return None
    return np.angle(vector[:, 0]) / (2 * np.pi)


def _from_sparsest(phase: np.ndarray) -> np.ndarray:
    """Phase in [0, 1), counted from where a smooth density of the cells is least."""
    grid = np.arange(100) / 100
    density = [np.exp(30 * (np.cos(2 * np.pi * (phase - at)) - 1)).sum() for at in grid]
    return _unit(phase - grid[int(np.argmin(density))])
