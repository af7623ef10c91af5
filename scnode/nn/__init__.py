"""Vector fields, encoders and decoders in pure torch."""

from ._mlp_field import MLPField
from ._pca import PCA

__all__ = ["PCA", "MLPField"]
