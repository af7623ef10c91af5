"""AnnData to arrays: expression, and evidence of motion."""

from ._abundance import Abundance, read_abundance
from ._arms import Arms
from ._batches import Batches, read_batches
from ._clock import velocity_clock
from ._clock_map import ClockMap, check_rescaling, rescale
from ._contradiction import contradictions
from ._controls import Controls
from ._encode import encode
from ._evenly import evenly
from ._evidence import find_evidence
from ._expression import Expression, read_expression
from ._growth import relative_mass
from ._kinetics import Kinetics, kinetic_genes, portrait
from ._lift import derivative_along, pace_of
from ._mix import Target, mix
from ._neighbors import Neighbors
from ._paths import draw_paths
from ._scvelo import compute_velocity
from ._snapshots import Snapshots, read_snapshots, warn_of_confounded_batches
from ._source import Evidence, Space
from ._support import Support
from ._surroundings import surroundings
from ._times import HOURS, read_times
from ._variable_genes import variable_genes
from ._winding import Winding, find_winding, mean_phase, wrap

__all__ = [
    "HOURS",
    "Abundance",
    "Arms",
    "Batches",
    "ClockMap",
    "Controls",
    "Evidence",
    "Expression",
    "Kinetics",
    "Neighbors",
    "Snapshots",
    "Space",
    "Support",
    "Target",
    "Winding",
    "check_rescaling",
    "compute_velocity",
    "contradictions",
    "derivative_along",
    "draw_paths",
    "encode",
    "evenly",
    "find_evidence",
    "find_winding",
    "kinetic_genes",
    "mean_phase",
    "mix",
    "pace_of",
    "portrait",
    "read_abundance",
    "read_batches",
    "read_expression",
    "read_snapshots",
    "read_times",
    "relative_mass",
    "rescale",
    "surroundings",
    "variable_genes",
    "velocity_clock",
    "warn_of_confounded_batches",
    "wrap",
]
