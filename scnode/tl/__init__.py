"""Compute and write: each tool names the keys that it writes."""

from ._attribution import attribution
from ._evaluate import evaluate
from ._fate import fate
from ._fit import fit
from ._fixed_points import fixed_points
from ._ftle import ftle
from ._jacobian import jacobian
from ._map import map
from ._ood import ood
from ._perturb import perturb
from ._screen import screen
from ._stiffness import stiffness
from ._trajectories import trajectories
from ._transition_matrix import transition_matrix
from ._velocity import velocity

__all__ = [
    "attribution",
    "evaluate",
    "fate",
    "fit",
    "fixed_points",
    "ftle",
    "jacobian",
    "map",
    "ood",
    "perturb",
    "screen",
    "stiffness",
    "trajectories",
    "transition_matrix",
    "velocity",
]
