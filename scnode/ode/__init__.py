"""Integrate initial value problems in pure torch, differentiate and measure them: no cells, no AnnData."""

from ._along import PathMeasures, measure_along
from ._brownian import BrownianPath, Increment
from ._fit_trajectories import TrajectoryFit, fit_trajectories
from ._fixed_points import FixedPoints, fixed_points
from ._ftle import ftle
from ._gronwall import GronwallBound, gronwall_bound
from ._limit_cycles import LimitCycles, limit_cycles
from ._measure import divergence, eigenvalues, jacobian, log_norm, spectral_norm
from ._pieces import solve_pieces
from ._pilot import StiffnessReport
from ._report import GradientReport, GradientRow, gradient_report
from ._sde_solution import SDESolution, SDEStats
from ._solution import Solution, Stats, Status
from ._solve import GRADIENTS, SOLVERS, solve
from ._solve_sde import SDE_SOLVERS, solve_sde
from ._stiffness import stiffness_ratio

__all__ = [
    "GRADIENTS",
    "SDE_SOLVERS",
    "SOLVERS",
    "BrownianPath",
    "FixedPoints",
    "GradientReport",
    "GradientRow",
    "GronwallBound",
    "Increment",
    "LimitCycles",
    "PathMeasures",
    "SDESolution",
    "SDEStats",
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
    "measure_along",
    "solve",
    "solve_pieces",
    "solve_sde",
    "spectral_norm",
    "stiffness_ratio",
]
