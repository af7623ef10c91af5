"""Fit encoders and vector fields with Lightning."""

from ._courses import Course
from ._encoder import Profiles, fit_encoder
from ._fit import Examples, fit_field
from ._losses import LossTerms, path_loss, regression_loss
from ._resume import resume_folder
from ._stage import Fitted

__all__ = [
    "Course",
    "Examples",
    "Fitted",
    "LossTerms",
    "Profiles",
    "fit_encoder",
    "fit_field",
    "path_loss",
    "regression_loss",
    "resume_folder",
]
