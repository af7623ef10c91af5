"""Distances between clouds of cells and agreement of directions."""

from ._direction import bootstrap_mean, cosine

__all__ = ["bootstrap_mean", "cosine"]
