"""Distances between clouds of cells and agreement of directions."""

from ._conformal import conformal_quantile, interval_scores
from ._direction import bootstrap_mean, cosine
from ._energy import energy_distance
from ._wasserstein import optimal_plan, wasserstein

__all__ = [
    "bootstrap_mean",
    "conformal_quantile",
    "cosine",
    "energy_distance",
    "interval_scores",
    "optimal_plan",
    "wasserstein",
]
