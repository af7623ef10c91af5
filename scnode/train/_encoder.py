"""Fit an encoder and its decoder to expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scnode.train._fit import run_stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    import scipy.sparse as sp

    from scnode.nn import VAE, Autoencoder

_PATIENCE = 6
_MIN_GAIN = 1e-4
_LR = 3e-3


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
) -> list[dict[str, Any]]:
    """Fit in place, keep the best state on held-out cells, and return the history, one record per epoch."""
    from scnode.train._encoder_module import EncoderModule, ProfileData

    n = profiles.expression.shape[0]
    order = rng.permutation(n)
    held_out = max(1, n // 10)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    data = ProfileData(profiles, encoder.n_latent, order[held_out:], order[:held_out], generator=generator)
    # Callbacks of the user's watch the field.
    options = {name: value for name, value in trainer_options.items() if name != "callbacks"}
    history, _ = run_stage(
        EncoderModule(encoder, lr=_LR),
        data,
        stage="encoder",
        max_epochs=max_epochs,
        options=options,
        patience=_PATIENCE,
        min_gain=_MIN_GAIN,
    )
    encoder.cpu()
    return history
