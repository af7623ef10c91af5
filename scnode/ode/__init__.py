"""Integrate initial value problems in pure torch: no cells, no AnnData."""

from ._measure import divergence, jacobian, spectral_norm
from ._solution import Solution, Stats, Status
from ._solve import GRADIENTS, SOLVERS, solve

__all__ = [
    "GRADIENTS",
    "SOLVERS",
    "Solution",
    "Stats",
    "Status",
    "divergence",
    "jacobian",
    "solve",
    "spectral_norm",
]
