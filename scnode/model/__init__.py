"""The fitted model: encoder, vector field and decoder."""

from ._latent_ode import LatentODE
from ._stored import stored_model, stored_result

__all__ = ["LatentODE", "stored_model", "stored_result"]
