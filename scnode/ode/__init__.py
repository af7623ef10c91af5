"""Integrate initial value problems in pure torch, differentiate and measure them: no cells, no AnnData."""

from ._fixed_points import FixedPoints, fixed_points
from ._ftle import ftle
from ._gronwall import GronwallBound, gronwall_bound
from ._measure import divergence, eigenvalues, jacobian, log_norm, spectral_norm
from ._pieces import solve_pieces
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
    "solve",
    "solve_pieces",
    "spectral_norm",
    "stiffness_ratio",
]
