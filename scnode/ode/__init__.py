"""Integrate initial value problems in pure torch, differentiate and measure them: no cells, no AnnData."""

from ._fit_trajectories import TrajectoryFit, fit_trajectories
from ._fixed_points import FixedPoints, fixed_points
from ._ftle import ftle
from ._gronwall import GronwallBound, gronwall_bound
from ._limit_cycles import LimitCycles, limit_cycles
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
    "LimitCycles",
    "Solution",
    "Stats",
    "Status",
    "StiffnessReport",
    "TrajectoryFit",
    "divergence",
    "eigenvalues",
    "fit_trajectories",
    "fixed_points",
    "ftle",
    "gradient_report",
    "gronwall_bound",
    "jacobian",
    "limit_cycles",
    "log_norm",
    "solve",
    "spectral_norm",
    "stiffness_ratio",
]
