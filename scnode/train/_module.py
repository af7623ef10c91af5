"""Lightning around an ensemble field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from scnode.nn import Field
from scnode.train._courses import Course, course_loss
from scnode.train._losses import LossTerms, path_loss, regression_loss, snapshot_loss

Batch = dict[str, Tensor]

_MOST_SOLVED = 1 << 16
"""Numbers in the states of all members that one batch solves for; of a high-dimensional space, fewer cells."""


class FieldModule(L.LightningModule):
    """Regression on local evidence; with `solve_options`, short solved trajectories and snapshots as well."""

    def __init__(
        self,
        field: Field,
        *,
        lr: float,
        local: float = 1.0,
        solve_options: dict[str, object] | None = None,
        courses: Sequence[Course] = (),
        restore: bool = True,
    ) -> None:
        super().__init__()
        self.courses, self.restore = tuple(courses), restore
        self.field, self.lr, self.local, self.solve_options = field, lr, local, solve_options
        self.skipped = 0

    def terms(self, batch: Batch) -> LossTerms:
        """Losses of a batch."""
        weight = batch["weight"].T
        even = torch.ones_like(weight)
        regression = self._regression(batch, "latent", weight)
        surroundings = self._regression(batch, "outside", even) if self.restore else None
        penalty = self.field.penalty(batch["clock"], batch["latent"])
        if self.solve_options is None:
            return LossTerms(regression, surroundings, bridge=self._bridge(batch, even), penalty=penalty)
        path = None
        if self.local > 0:
            n = max(1, _MOST_SOLVED // (len(weight) * batch["latent"].shape[1]))
            some = {name: values[:n] for name, values in batch.items()}
            options = {"solve_options": self.solve_options}
            path = path_loss(self._under(some), some["times"], some["states"], weight[:, :n], **options)
        snapshots = self._snapshots(batch)
        return LossTerms(regression, surroundings, path=path, snapshots=snapshots, penalty=penalty, local=self.local)

    def _bridge(self, batch: Batch, even: Tensor) -> Tensor | None:
        if "bridge" not in batch:
            return None
        return (1 - self.local) * self._regression(batch, "bridge", even)

    def _under(self, batch: Batch, states: str = "latent") -> Field:
        """The field under the input of every state, where it takes one."""
        control = f"{states}_control"
        return self.field.under(batch[control]) if self.field.n_controls else self.field

    def _regression(self, batch: Batch, states: str, weight: Tensor) -> Tensor:
        velocity, clock = ("velocity", "clock") if states == "latent" else (f"{states}_velocity", f"{states}_clock")
        return regression_loss(self._under(batch, states), batch[clock], batch[states], batch[velocity], weight)

    def _snapshots(self, batch: Batch) -> Tensor | None:
        if "snapshot" not in batch or self.solve_options is None:
            return None
        if self.field.n_controls:
            return course_loss(self.field, self.courses, batch, self._carried)
        cells = {"states": batch["latent"], "weight": batch["boot"].T, "growth": batch.get("growth")}
        return self._carried(self.field, batch["snapshot"], batch["window"], **cells)

    def _carried(self, field: Field, snapshot: Tensor, window: Tensor, **cells: Any) -> Tensor:
        """Distance of snapshots from those before them, carried by the field."""
        return snapshot_loss(field, snapshot, window, **cells, solve_options=self.solve_options or {})

    def training_step(self, batch: Batch) -> Tensor:
        """Loss of one training batch."""
        loss = self.terms(batch).total
        self.log("train_loss", loss, on_epoch=True, on_step=False, prog_bar=True, batch_size=len(batch["latent"]))
        return loss

    def on_after_backward(self) -> None:
        """Leave out a step whose gradient is not finite: clipping would spread it to every weight."""
        finite = [p.grad.isfinite().all() for p in self.parameters() if p.grad is not None]
        # One answer for all weights: each question to a device makes it wait.
        if finite and not bool(torch.stack(finite).all()):
            self.zero_grad(set_to_none=True)
            self.skipped += 1

    def troubles(self, stage: str) -> list[str]:
        """What went wrong, in sentences."""
        if not self.skipped:
            return []
        return [f"{self.skipped} steps of the {stage} had no finite gradient and were left out: pass a smaller lr=."]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What a resumed fit needs beyond the weights."""
        checkpoint["skipped"] = self.skipped

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self.skipped = checkpoint["skipped"]

    def validation_step(self, batch: Batch) -> None:
        """Loss of the held-out cells."""
        loss = self.terms(batch).total
        self.log("validation_loss", loss, prog_bar=True, batch_size=len(batch["latent"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=1e-3)


def place_among_processes() -> tuple[int, int]:
    """Number of this process in training, and how many there are."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


class _Batches(IterableDataset[Batch]):
    """Shuffled slices of tensors: far cheaper than collating single cells."""

    def __init__(self, tensors: Batch, rows: Tensor, *, batch_size: int, generator: torch.Generator | None) -> None:
        self.tensors, self.rows, self.batch_size, self.generator = tensors, rows, batch_size, generator

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __iter__(self) -> Any:
        order = torch.randperm(len(self.rows), generator=self.generator) if self.generator else slice(None)
        rank, n = place_among_processes() if self.generator else (0, 1)
        for batch in self.rows[order].split(self.batch_size):
            # Every process takes its share of each batch, so that together they take the steps of one.
            rows = batch[rank::n] if len(batch) >= n else batch
            yield {name: values[rows] for name, values in self.tensors.items()}


class CellData(L.LightningDataModule):
    """Training and held-out cells."""

    def __init__(
        self, tensors: Batch, *, train: Tensor, validation: Tensor, batch_size: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.tensors, self.train, self.validation = tensors, train, validation
        self.batch_size, self.generator = batch_size, generator

    @property
    def contents(self) -> dict[str, Any]:
        """All that the batches are made of."""
        return {**self.tensors, "train": self.train, "validation": self.validation}

    def state_dict(self) -> dict[str, Any]:
        """Where the order of the cells has got to."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.generator.set_state(state_dict["generator"])

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches of the training cells."""
        data = _Batches(self.tensors, self.train, batch_size=self.batch_size, generator=self.generator)
        # Without a generator of its own a loader draws from torch's global one.
        return DataLoader(data, batch_size=None, generator=self.generator)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The held-out cells, every member with equal weight."""
        weights = {name: self.tensors[name] for name in ("weight", "boot") if name in self.tensors}
        tensors = self.tensors | {name: w.mean(1, keepdim=True).expand_as(w) for name, w in weights.items()}
        data = _Batches(tensors, self.validation, batch_size=8 * self.batch_size, generator=None)
        return DataLoader(data, batch_size=None, generator=self.generator)
