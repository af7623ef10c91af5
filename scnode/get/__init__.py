"""Read results back as models, tables and AnnData."""

from ._agreement import agreement
from ._attribution import attribution
from ._evaluation import evaluation
from ._fixed_points import fixed_points
from ._jacobian import jacobian
from ._model import model
from ._perturbation import perturbation
from ._response import response
from ._screen import screen
from ._trajectories import trajectories

__all__ = [
    "agreement",
    "attribution",
    "evaluation",
    "fixed_points",
    "jacobian",
    "model",
    "perturbation",
    "response",
    "screen",
    "trajectories",
]
