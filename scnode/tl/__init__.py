"""Compute and write: each tool names the keys that it writes."""

from ._evaluate import evaluate
from ._fate import fate
from ._fit import fit
from ._jacobian import jacobian
from ._map import map
from ._ood import ood
from ._perturb import perturb
from ._trajectories import trajectories
from ._transition_matrix import transition_matrix
from ._velocity import velocity

__all__ = [
    "evaluate",
    "fate",
    "fit",
    "jacobian",
    "map",
    "ood",
    "perturb",
    "trajectories",
    "transition_matrix",
    "velocity",
]
