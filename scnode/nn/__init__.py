"""Vector fields, encoders and decoders in pure torch."""

from ._autoencoder import Autoencoder
from ._encoders import ENCODERS, Encoder
from ._hold import Hold
from ._likelihood import nb_log_likelihood, zinb_log_likelihood
from ._linear_decoder import LinearDecoder
from ._mlp_field import MLPField, side_by_side
from ._pca import PCA
from ._vae import VAE

__all__ = [
    "ENCODERS",
    "PCA",
    "VAE",
    "Autoencoder",
    "Encoder",
    "Hold",
    "LinearDecoder",
    "MLPField",
    "nb_log_likelihood",
    "side_by_side",
    "zinb_log_likelihood",
]
