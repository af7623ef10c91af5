"""Fit a vector field with Lightning."""

from ._fit import Examples, fit_field
from ._losses import LossTerms, path_loss, regression_loss

__all__ = ["Examples", "LossTerms", "fit_field", "path_loss", "regression_loss"]
