"""Keep the best state and the history."""

from __future__ import annotations

import copy
from typing import Any

import lightning as L


class BestState(L.Callback):
    """Keep the weights with the lowest validation loss, also after an interruption; record every epoch.

    With `counts_start` those before the first epoch count as well, as the rehearsal of the validation finds them.
    """

    def __init__(self, stage: str, *, counts_start: bool = False) -> None:
        self.stage, self.counts_start = stage, counts_start
        self.loss = float("inf")
        self.state: dict[str, Any] | None = None
        self.history: list[dict[str, Any]] = []

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare with the best so far."""
        if trainer.sanity_checking and not self.counts_start:
            return
        loss = float(trainer.callback_metrics["validation_loss"])
        if loss < self.loss:
            self.loss, self.state = loss, copy.deepcopy(pl_module.state_dict())

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the losses of the epoch."""
        del pl_module
        losses = {name: float(trainer.callback_metrics[name]) for name in ("train_loss", "validation_loss")}
        self.history.append({"stage": self.stage, "epoch": trainer.current_epoch, **losses})

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"loss": self.loss, "state": self.state, "history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.loss, self.state, self.history = state_dict["loss"], state_dict["state"], list(state_dict["history"])
