"""Vector fields, encoders and decoders in pure torch."""

from ._hold import Hold
from ._mlp_field import MLPField
from ._pca import PCA

__all__ = ["PCA", "Hold", "MLPField"]
