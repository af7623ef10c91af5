"""What an interrupted fit goes on from: a folder with one file a stage, written anew after each epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import scipy.sparse as sp
import torch

from scnode._errors import ScnodeError

_KEY = "scnode"


@dataclass(frozen=True)
class Mark:
    """What a stage is a fit of: settings by name, and a digest of its weights and data."""

    stage: str
    settings: Mapping[str, Any]
    digest: str

    @classmethod
    def of(cls, stage: str, module: L.LightningModule, data: Any, settings: Mapping[str, Any]) -> Mark:
        """Mark of a stage that is about to begin."""
        plain = {name: value if isinstance(value, int | float) else str(value) for name, value in settings.items()}
        return cls(stage, plain, digest(dict(module.state_dict()), data.contents))

    def check(self, stored: Mapping[str, Any], path: Path) -> None:
        """Refuse what was stored by another fit."""
        known = dict(stored["settings"])
        differing = [n for n in {**known, **self.settings} if known.get(n) != self.settings.get(n)]
        if differing:
            said = ", ".join(f"{n}={known.get(n)} and not {self.settings.get(n)}" for n in differing)
            raise ScnodeError(f"{path} was written by a fit with {said}. Pass the same, or another folder as resume=.")
        if stored["digest"] != self.digest:
            raise ScnodeError(
                f"{path} was written by a fit of other cells or evidence, with another rng= or number of threads. Pass "
                "the same, or another folder as resume=."
            )


class KeepEpoch(L.pytorch.callbacks.Checkpoint):
    """Write a stage to its file after every epoch, after all other callbacks; the file is whole at any moment."""

    def __init__(self, path: Path, mark: Mark) -> None:
        self.path, self.mark = path, mark

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say what it is, and whether the stage is through."""
        del pl_module
        through = trainer.should_stop or trainer.current_epoch + 1 >= (trainer.max_epochs or 0)
        checkpoint[_KEY] = {"settings": dict(self.mark.settings), "digest": self.mark.digest, "through": through}

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write, beside the file of the epoch before, and then put it in its place."""
        del pl_module
        partial = self.path.with_suffix(".partial")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            partial.replace(self.path)


def read_epoch(path: Path, mark: Mark) -> dict[str, Any] | None:
    """What the last epoch of a stage has left, None where there was none."""
    if not path.exists():
        return None
    try:
        # Tensors and plain values only: a file of somebody else's runs no code. Lightning reads the same afterwards.
        stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        mark.check(stored[_KEY], path)
    except ScnodeError:
        raise
    except Exception as error:
        raise ScnodeError(
            f"{path} is damaged or was not written by scnode. Delete it, or pass another folder as resume=."
        ) from error
    return stored


def is_through(stored: Mapping[str, Any] | None) -> bool:
    """Whether that epoch was the last of its stage."""
    return stored is not None and bool(stored[_KEY]["through"])


def reopen(stored: Mapping[str, Any], module: L.LightningModule, data: L.LightningDataModule, best: L.Callback) -> None:
    """Leave all as the stage left it."""
    module.on_load_checkpoint(dict(stored))
    data.load_state_dict(stored[type(data).__qualname__])
    best.load_state_dict(stored["callbacks"][best.state_key])


def resume_folder(path: str | Path) -> Path:
    """The folder, made where there is none."""
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ScnodeError(f"resume={str(path)!r} is a file. Pass a folder, which is made if there is none.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScnodeError(f"resume={str(path)!r} cannot be made ({error}). Pass another folder.") from error
    return folder


def digest(*parts: Any) -> str:
    """SHA-256 of tensors, arrays and sparse matrices, in mappings or sequences, with their names and shapes."""
    found = hashlib.sha256()
    for part in parts:
        _feed(found, part)
    return found.hexdigest()


def _feed(found: Any, part: Any) -> None:
    if isinstance(part, Mapping):
        for name in sorted(part):
            found.update(str(name).encode())
            _feed(found, part[name])
    elif isinstance(part, list | tuple):
        for item in part:
            _feed(found, item)
    elif sp.issparse(part):
        _feed(found, [part.indptr, part.indices, part.data])
    elif part is not None:
        array = np.ascontiguousarray(part.detach().cpu().numpy() if isinstance(part, torch.Tensor) else part)
        found.update(f"{array.dtype}{array.shape}".encode())
        found.update(array.tobytes())
