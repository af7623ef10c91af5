"""Every kind of encoder by its name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from scnode.nn._autoencoder import Autoencoder
from scnode.nn._linear_decoder import LinearDecoder
from scnode.nn._moments import Moments
from scnode.nn._pca import PCA
from scnode.nn._vae import VAE

if TYPE_CHECKING:
    from collections.abc import Callable

Encoder: TypeAlias = PCA | Autoencoder | VAE | Moments

ENCODERS: dict[str, Callable[..., Encoder]] = {
    "pca": PCA.sized,
    "autoencoder": Autoencoder,
    "autoencoder-huber": partial(Autoencoder, loss="huber"),
    "vae": VAE,
    "vae-zinb": partial(VAE, likelihood="zinb"),
    "linear": LinearDecoder.sized,
    "moments": Moments.sized,
}
"""A row makes the encoder, without weights, from (n_genes, n_latent, **sizes)."""
