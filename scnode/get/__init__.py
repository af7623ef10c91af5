"""Read results back as models, tables and AnnData."""

from ._model import model
from ._trajectories import trajectories

__all__ = ["model", "trajectories"]
