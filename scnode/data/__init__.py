"""AnnData to arrays: expression, and evidence of motion."""

from ._batches import Batches, read_batches
from ._clock import velocity_clock
from ._encode import encode
from ._evidence import Evidence, find_evidence
from ._expression import Expression, read_expression
from ._mix import Target, mix
from ._neighbors import Neighbors
from ._paths import draw_paths
from ._scvelo import compute_velocity
from ._support import Support
from ._surroundings import surroundings
from ._variable_genes import variable_genes

__all__ = [
    "Batches",
    "Evidence",
    "Expression",
    "Neighbors",
    "Support",
    "Target",
    "compute_velocity",
    "draw_paths",
    "encode",
    "find_evidence",
    "mix",
    "read_batches",
    "read_expression",
    "surroundings",
    "variable_genes",
    "velocity_clock",
]
