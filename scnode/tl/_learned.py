"""A learned encoder of a fit, which begins at the principal components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode.data import encode
from scnode.tl._principal import loadings

if TYPE_CHECKING:
    from scnode.data import Batches, Expression
    from scnode.nn import VAE, Autoencoder

_REST = 1e-3


@dataclass(frozen=True)
class Training:
    """How an encoder is fitted."""

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    max_epochs: int = 100
    trainer_options: Mapping[str, Any] = field(default_factory=dict)


def learn(
    name: str,
    expression: Expression,
    genes: np.ndarray,
    n_latent: int,
    batches: Batches | None,
    training: Training,
) -> tuple[Autoencoder | VAE, list[dict[str, Any]]]:
    """The fitted encoder in double precision, its states standardised, and its history."""
    import torch

    from scnode.nn import ENCODERS, VAE
    from scnode.train import Profiles, fit_encoder

    matrix = expression.matrix[:, genes]
    n_latent = min(n_latent, min(matrix.shape) - 1)
    several = batches is not None and len(batches.names) > 1
    sizes = {"n_batches": len(batches.names)} if several else {}
    encoder = ENCODERS[name](len(genes), n_latent, **sizes)
    code = batches.code if several else None
    is_vae = isinstance(encoder, VAE)
    counts = expression.counts(genes) if is_vae else None
    profiles = Profiles(matrix, expression.size, counts, code)
    extra = {"log_share": _log_share(counts, expression.size)} if is_vae else {}
    generator = torch.Generator().manual_seed(int(training.rng.integers(2**62)))
    encoder.start(**_components(matrix, n_latent), **extra, generator=generator)
    history = fit_encoder(
        encoder,
        profiles,
        max_epochs=training.max_epochs,
        trainer_options=training.trainer_options,
        rng=training.rng,
    )
    encoder.double().standardise(torch.from_numpy(encode(encoder, matrix, batch=code)))
    return encoder, history


def _components(matrix: Any, n_latent: int) -> dict[str, Any]:
    """Principal components, with the typical standard deviation of a gene and of a component."""
    import torch

    mean, components = loadings(matrix, n_latent)
    scores = matrix @ components - mean @ components
    square = np.asarray(matrix.multiply(matrix).mean(0)).ravel()
    tiny = np.finfo(np.float32).tiny
    return {
        "mean": torch.as_tensor(mean, dtype=torch.float32),
        "components": torch.as_tensor(components, dtype=torch.float32),
        "unit": float(np.sqrt(np.maximum((square - mean**2).mean(), tiny))),
        "spread": float(np.sqrt(np.maximum(scores.var(0).mean(), tiny))),
    }


def _log_share(counts: Any, size: np.ndarray) -> Any:
    """Logarithm of the genes' shares in all molecules, relative to those of all genes left out."""
    import torch

    share = np.asarray(counts.sum(0)).ravel() / size.sum()
    rest = max(1 - share.sum(), _REST)
    return torch.as_tensor(np.log(np.maximum(share, 1e-8) / rest), dtype=torch.float32)
