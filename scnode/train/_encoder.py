"""Fit an encoder and its decoder to expression."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._random import torch_generator
from scnode.train._stage import run_stage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import scipy.sparse as sp

    from scnode.nn import VAE, Autoencoder

_PATIENCE = 10
_MIN_GAIN = 1e-4
_LR = 5e-3
_FEW_GENES = 200


@dataclass(frozen=True)
class Profiles:
    """What an encoder is fitted to.

    Parameters
    ----------
    expression
        Log-normalised, shape (cell, gene), CSR.
    size
        Total of each cell, shape (cell,).
    counts
        Of the same genes, shape (cell, gene), CSR, for a likelihood of counts.
    batch
        Number of each cell's batch, shape (cell,).
    """

    expression: sp.csr_matrix
    size: np.ndarray
    counts: sp.csr_matrix | None = None
    batch: np.ndarray | None = None


def fit_encoder(
    encoder: Autoencoder | VAE,
    profiles: Profiles,
    *,
    max_epochs: int,
    trainer_options: Mapping[str, Any],
    rng: np.random.Generator,
    resume: Path | None = None,
) -> list[dict[str, Any]]:
    """Fit in place, keep the best state on held-out cells, and return the history, one record per epoch."""
    from scnode.train._encoder_module import EncoderModule, ProfileData

    n = profiles.expression.shape[0]
    order = rng.permutation(n)
    held_out = max(1, n // 10)
    generator = torch_generator(rng)
    data = ProfileData(profiles, encoder.n_latent, order[held_out:], order[:held_out], generator=generator)
    # Callbacks of the user's watch the field.
    options = {name: value for name, value in trainer_options.items() if name != "callbacks"}
    # Every output adds its noise to the gradient of what they share.
    lr = _LR * math.sqrt(min(1, _FEW_GENES / profiles.expression.shape[1]))
    found = run_stage(
        EncoderModule(encoder, lr=lr),
        data,
        stage="encoder",
        max_epochs=max_epochs,
        options=options,
        patience=_PATIENCE,
        min_gain=_MIN_GAIN,
        resume=resume,
        marks={"lr": lr},
    )
    encoder.cpu()
    return found.history
