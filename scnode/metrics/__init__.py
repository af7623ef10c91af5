"""Distances between clouds of cells and agreement of directions."""

from ._direction import bootstrap_mean, cosine
from ._energy import energy_distance
from ._wasserstein import wasserstein

__all__ = ["bootstrap_mean", "cosine", "energy_distance", "wasserstein"]
