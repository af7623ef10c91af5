"""Vector fields, encoders and decoders in pure torch."""

from ._hold import Hold
from ._mlp_field import MLPField, side_by_side
from ._pca import PCA

__all__ = ["PCA", "Hold", "MLPField", "side_by_side"]
