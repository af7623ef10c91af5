"""Lightning around an encoder."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from scnode.nn import VAE, Autoencoder
from scnode.train._module import place_among_processes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scnode.train._encoder import Profiles

_BATCH_SIZE = 64
_SLOWER = 0.3
_WAIT = 6


def encoder_loss(encoder: Autoencoder | VAE, profiles: Mapping[str, Tensor]) -> Tensor:
    r"""Reconstruction error of an autoencoder, or the negative evidence bound of a VAE per gene.

    The bound is :math:`E_q \log p(x \mid h) - \mathrm{KL}(q \,\|\, N(0, I))` at one draw
    :math:`h = m + \sigma\epsilon`.

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

    def configure_optimizers(self) -> Any:
        """AdamW, with smaller steps wherever held-out cells gain no more, see :meth:`on_train_epoch_end`."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=1e-3)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=_SLOWER, patience=_WAIT)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.plateau, "monitor": "validation_loss"}}

    def on_train_epoch_end(self) -> None:
        """Step the schedule: Lightning would after its checkpoints, which would miss it."""
        self.plateau.step(float(self.trainer.callback_metrics["validation_loss"]))

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Nothing is left to Lightning."""


class _Batches(IterableDataset[dict[str, Tensor]]):
    """Dense slices of sparse profiles, each with its noise: drawn beside the data, it goes to the device with them."""

    def __init__(
        self, profiles: Profiles, rows: np.ndarray, *, n_latent: int, generator: torch.Generator, fixed: bool
    ) -> None:
        self.profiles, self.rows, self.n_latent, self.generator = profiles, rows, n_latent, generator
        self.noise = self._draw() if fixed else None

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / _BATCH_SIZE)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        n, fixed = len(self.rows), self.noise is not None
        order = torch.arange(n) if fixed else torch.randperm(n, generator=self.generator)
        noise = self._draw() if self.noise is None else self.noise
        rank, n_processes = (0, 1) if fixed else place_among_processes()
        for batch in order.split(_BATCH_SIZE):
            place = batch[rank::n_processes] if len(batch) >= n_processes else batch
            yield self._slice(self.rows[place.numpy()]) | {"noise": noise[place]}

    def _draw(self) -> Tensor:
        return torch.randn(len(self.rows), self.n_latent, generator=self.generator)

    def _slice(self, rows: np.ndarray) -> dict[str, Tensor]:
        p = self.profiles
        found = {
            "expression": torch.from_numpy(p.expression[rows].toarray()),
            "size": torch.as_tensor(p.size[rows], dtype=torch.float32),
        }
        if p.counts is not None:
            found["counts"] = torch.from_numpy(p.counts[rows].toarray())
        if p.batch is not None:
            found["batch"] = torch.from_numpy(p.batch[rows])
        return found


class ProfileData(L.LightningDataModule):
    """Training and held-out cells; the latter keep their noise, so that epochs compare."""

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
        self.generator, self.profiles = generator, profiles
        shared: dict[str, Any] = {"n_latent": n_latent, "generator": generator}
        self.validation = _Batches(profiles, validation, **shared, fixed=True)
        self.train = _Batches(profiles, train, **shared, fixed=False)

    @property
    def contents(self) -> dict[str, Any]:
        """All that the batches are made of."""
        rows = {"train": self.train.rows, "validation": self.validation.rows, "noise": self.validation.noise}
        return {**vars(self.profiles), **rows}

    def state_dict(self) -> dict[str, Any]:
        """Where the order of the cells has got to."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.generator.set_state(state_dict["generator"])

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Shuffled batches of the training cells."""
        # Without a generator of its own a loader draws from torch's global one.
        return DataLoader(self.train, batch_size=None, generator=self.generator)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The held-out cells."""
        return DataLoader(self.validation, batch_size=None, generator=self.generator)
