"""A learned encoder of a fit, which begins at the principal components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._random import torch_generator
from scnode.data import encode
from scnode.tl._principal import loadings

if TYPE_CHECKING:
    from pathlib import Path

    import scipy.sparse as sp
    from torch import Tensor

    from scnode.data import Batches, Expression
    from scnode.nn import VAE, Autoencoder

_REST = 1e-3


@dataclass(frozen=True)
class Training:
    """How an encoder is fitted."""

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    max_epochs: int = 100
    trainer_options: Mapping[str, Any] = field(default_factory=dict)
    resume: Path | None = None


def learn(
    name: str,
    expression: Expression,
    genes: np.ndarray,
    n_latent: int,
    *,
    batches: Batches | None,
    training: Training,
) -> tuple[Autoencoder | VAE, list[dict[str, Any]]]:
    """The fitted encoder in double precision, its states standardised, and its history."""
    import torch

    from scnode.nn import ENCODERS, VAE
    from scnode.train import Profiles, fit_encoder

    sizes = {} if batches is None else {"n_batches": len(batches.names)}
    code = None if batches is None else batches.apart
    sample, rows = expression.sample(genes, batch=code)
    matrix, size, code = sample.matrix, sample.size, None if code is None else code[rows]
    n_latent = min(n_latent, min(matrix.shape) - 1)
    encoder: Any = ENCODERS[name](len(genes), n_latent, **sizes)
    is_vae = isinstance(encoder, VAE)
    counts = sample.counts() if is_vae else None
    profiles = Profiles(matrix, size, counts, code)
    extra = {"log_share": _log_share(counts, size)} if is_vae else {}
    generator = torch_generator(training.rng)
    encoder.start(**_components(matrix, n_latent, code), **extra, generator=generator)
    history = fit_encoder(
        encoder,
        profiles,
        max_epochs=training.max_epochs,
        trainer_options=training.trainer_options,
        rng=training.rng,
        resume=training.resume,
    )
    encoder.double().standardise(torch.from_numpy(encode(encoder, matrix, batch=code)))
    return encoder, history


def _components(matrix: sp.csr_matrix, n_latent: int, batch: np.ndarray | None) -> dict[str, Any]:
    """Principal components within batches, with the typical standard deviation of a gene and of a component."""
    import torch

    mean = np.asarray(matrix.mean(0), dtype=np.float64).ravel()
    centred = matrix if batch is None else _without_batches(matrix, batch)
    own_mean, components = loadings(centred, n_latent)
    scores = centred @ components - own_mean @ components
    variance = np.asarray(matrix.multiply(matrix).mean(0)).ravel() - mean**2
    tiny = float(np.finfo(np.float32).tiny)
    return {
        "mean": torch.as_tensor(mean, dtype=torch.float32),
        "components": torch.as_tensor(components, dtype=torch.float32),
        "unit": float(np.sqrt(max(variance.mean(), tiny))),
        "spread": float(np.sqrt(max(scores.var(0).mean(), tiny))),
    }


def _without_batches(matrix: sp.csr_matrix, batch: np.ndarray) -> np.ndarray:
    """Expression less the mean of its batch."""
    dense = matrix.toarray()
    for code in np.unique(batch):
        dense[batch == code] -= dense[batch == code].mean(0)
    return dense


def _log_share(counts: sp.csr_matrix, size: np.ndarray) -> Tensor:
    """Logarithm of the genes' shares in all molecules, relative to those of all genes left out."""
    import torch

    share = np.asarray(counts.sum(0)).ravel() / size.sum()
    rest = max(1 - share.sum(), _REST)
    return torch.as_tensor(np.log(np.maximum(share, 1e-8) / rest), dtype=torch.float32)
