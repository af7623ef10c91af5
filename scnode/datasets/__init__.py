"""Simulated single-cell data with known velocity, time, fate and knock-outs."""

from __future__ import annotations

from ._bifurcation import bifurcation
from ._branching import branching
from ._dose_response import dose_response
from ._limit_cycle import limit_cycle
from ._stiff import stiff
from ._true_diffusion import true_diffusion
from ._true_velocity import true_velocity

__all__ = ["bifurcation", "branching", "dose_response", "limit_cycle", "stiff", "true_diffusion", "true_velocity"]
