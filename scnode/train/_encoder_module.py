"""Lightning around an encoder."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from scnode.nn import VAE, Autoencoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scnode.train._encoder import Profiles

_BATCH_SIZE = 128


def encoder_loss(encoder: Autoencoder | VAE, profiles: Mapping[str, Tensor]) -> Tensor:
    r"""Reconstruction error of an autoencoder, or the negative evidence bound of a VAE per gene.

    The bound is :math:`E_q \log p(x \mid h) - \mathrm{KL}(q \,\|\, N(0, I))` at one draw :math:`h = m + \sigma\epsilon`.

    Parameters
    ----------
    encoder
        Network to be fitted.
    profiles
        `expression` (cell, gene), `noise` (cell, latent), and for a VAE `counts`, `size` and `batch`.
    """
    if isinstance(encoder, Autoencoder):
        return encoder.error(profiles["expression"])
    batch = profiles.get("batch")
    mean, log_variance = encoder.posterior(profiles["expression"], batch)
    h = mean + (log_variance / 2).exp() * profiles["noise"]
    fit = encoder.log_likelihood(profiles["counts"], profiles["size"], h, batch).sum(1).mean()
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
    return (divergence - fit) / profiles["counts"].shape[1]


class EncoderModule(L.LightningModule):
    """Minimise the loss of an encoder."""

    def __init__(self, encoder: Autoencoder | VAE, *, lr: float) -> None:
        super().__init__()
        self.encoder, self.lr = encoder, lr

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """Loss of one training batch."""
        loss = encoder_loss(self.encoder, batch)
        self.log("train_loss", loss, on_epoch=True, on_step=False, prog_bar=True, batch_size=len(batch["size"]))
        return loss

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        """Loss of the held-out cells."""
        self.log("validation_loss", encoder_loss(self.encoder, batch), prog_bar=True, batch_size=len(batch["size"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=1e-3)


class _Batches(IterableDataset[dict[str, Tensor]]):
    """Dense slices of sparse profiles, each with its noise: drawn beside the data, it goes to the device with them."""

    def __init__(
        self, profiles: Profiles, n_latent: int, rows: np.ndarray, *, generator: torch.Generator | None
    ) -> None:
        self.profiles, self.n_latent, self.rows, self.generator = profiles, n_latent, rows, generator

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / _BATCH_SIZE)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        n = len(self.rows)
        order = np.arange(n) if self.generator is None else torch.randperm(n, generator=self.generator).numpy()
        for begin in range(0, n, _BATCH_SIZE):
            yield self._slice(self.rows[order[begin : begin + _BATCH_SIZE]])

    def _slice(self, rows: np.ndarray) -> dict[str, Tensor]:
        p, shape = self.profiles, (len(rows), self.n_latent)
        drawn = torch.zeros(shape) if self.generator is None else torch.randn(shape, generator=self.generator)
        found = {
            "expression": torch.from_numpy(p.expression[rows].toarray()),
            "size": torch.as_tensor(p.size[rows], dtype=torch.float32),
            "noise": drawn,
        }
        if p.counts is not None:
            found["counts"] = torch.from_numpy(p.counts[rows].toarray())
        if p.batch is not None:
            found["batch"] = torch.from_numpy(p.batch[rows])
        return found


class ProfileData(L.LightningDataModule):
    """Training and held-out cells; the latter without noise, so that epochs compare."""

    def __init__(
        self,
        profiles: Profiles,
        n_latent: int,
        train: np.ndarray,
        validation: np.ndarray,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.train = _Batches(profiles, n_latent, train, generator=generator)
        self.validation = _Batches(profiles, n_latent, validation, generator=None)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Shuffled batches of the training cells."""
        # Without a generator of its own a loader draws from torch's global one.
        return DataLoader(self.train, batch_size=None, generator=self.generator)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The held-out cells."""
        return DataLoader(self.validation, batch_size=None, generator=self.generator)
