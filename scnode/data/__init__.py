"""AnnData to arrays: expression, and evidence of motion."""

from ._clock import velocity_clock
from ._evidence import Evidence, find_evidence
from ._expression import Expression, read_expression
from ._mix import Target, mix
from ._neighbors import Neighbors
from ._paths import draw_paths
from ._scvelo import compute_velocity
from ._support import Support
from ._surroundings import surroundings

__all__ = [
    "Evidence",
    "Expression",
    "Neighbors",
    "Support",
    "Target",
    "compute_velocity",
    "draw_paths",
    "find_evidence",
    "mix",
    "read_expression",
    "surroundings",
    "velocity_clock",
]
