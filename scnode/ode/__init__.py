"""Integrate initial value problems in pure torch, differentiate and measure them: no cells, no AnnData."""

from ._along import PathMeasures, measure_along
from ._fixed_points import FixedPoints, fixed_points
from ._ftle import ftle
from ._gronwall import GronwallBound, gronwall_bound
from ._measure import divergence, eigenvalues, jacobian, log_norm, spectral_norm
from ._pilot import StiffnessReport
from ._report import GradientReport, GradientRow, gradient_report
from ._solution import Solution, Stats, Status
from ._solve import GRADIENTS, SOLVERS, solve
from ._stiffness import stiffness_ratio

__all__ = [
    "GRADIENTS",
    "SOLVERS",
    "FixedPoints",
    "GradientReport",
    "GradientRow",
    "GronwallBound",
    "PathMeasures",
    "Solution",
    "Stats",
    "Status",
    "StiffnessReport",
    "divergence",
    "eigenvalues",
    "fixed_points",
    "ftle",
    "gradient_report",
    "gronwall_bound",
    "jacobian",
    "log_norm",
    "measure_along",
    "solve",
    "spectral_norm",
    "stiffness_ratio",
]
