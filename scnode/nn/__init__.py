"""Vector fields, encoders and decoders in pure torch."""

from ._autoencoder import Autoencoder
from ._encoders import ENCODERS, Encoder
from ._field import Field, side_by_side
from ._fields import FIELDS
from ._hold import Hold
from ._likelihood import nb_log_likelihood, zinb_log_likelihood
from ._linear_decoder import LinearDecoder
from ._mlp_field import MLPField
from ._moments import Moments
from ._pca import PCA
from ._rna_field import RNAField
from ._vae import VAE

__all__ = [
    "ENCODERS",
    "FIELDS",
    "PCA",
    "VAE",
    "Autoencoder",
    "Encoder",
    "Field",
    "Hold",
    "LinearDecoder",
    "MLPField",
    "Moments",
    "RNAField",
    "nb_log_likelihood",
    "side_by_side",
    "zinb_log_likelihood",
]
