"""Draw what the tools wrote; nothing is computed of the model and nothing is written."""

from ._animate import animate
from ._attribution import attribution
from ._evaluation import evaluation
from ._fate import fate
from ._ftle import ftle
from ._history import history
from ._jacobian import jacobian
from ._perturbation import perturbation
from ._screen import screen
from ._trajectories import trajectories
from ._velocity import velocity_embedding_grid, velocity_embedding_stream

__all__ = [
    "animate",
    "attribution",
    "evaluation",
    "fate",
    "ftle",
    "history",
    "jacobian",
    "perturbation",
    "screen",
    "trajectories",
    "velocity_embedding_grid",
    "velocity_embedding_stream",
]
