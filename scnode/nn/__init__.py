"""Vector fields, encoders and decoders in pure torch."""

from ._autoencoder import Autoencoder
from ._controlled_field import ControlledField
from ._diffusion import Diffusion
from ._driven import Driven
from ._encoders import ENCODERS, Encoder
from ._field import Field, side_by_side
from ._fields import FIELDS
from ._gradient_field import CirculatingField, GradientField
from ._hold import Hold
from ._likelihood import nb_log_likelihood, zinb_log_likelihood
from ._linear_decoder import LinearDecoder
from ._mlp_field import MLPField
from ._moments import Moments
from ._pca import PCA
from ._polynomial_field import PolynomialField
from ._readout import DecodedReadout, JointReadout, LinearReadout, Readout
from ._regimen import Regimen
from ._residual_map import ResidualMap
from ._rna_field import RNAField
from ._schedule import Schedule
from ._stoichiometric_field import StoichiometricField
from ._vae import VAE

__all__ = [
    "ENCODERS",
    "FIELDS",
    "PCA",
    "VAE",
    "Autoencoder",
    "CirculatingField",
    "ControlledField",
    "DecodedReadout",
    "Diffusion",
    "Driven",
    "Encoder",
    "Field",
    "GradientField",
    "Hold",
    "JointReadout",
    "LinearDecoder",
    "LinearReadout",
    "MLPField",
    "Moments",
    "PolynomialField",
    "RNAField",
    "Readout",
    "Regimen",
    "ResidualMap",
    "Schedule",
    "StoichiometricField",
    "nb_log_likelihood",
    "side_by_side",
    "zinb_log_likelihood",
]
