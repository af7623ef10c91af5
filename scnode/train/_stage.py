"""One stage of a fit: a trainer that keeps the best state, and goes on where an earlier run was cut off."""

from __future__ import annotations

import copy
import logging
import signal
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from scnode._errors import SolverError
from scnode._settings import logger, settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATIENCE = 15


@dataclass(frozen=True)
class Fitted:
    """How a fit went: one record per epoch, and sentences on what went wrong and how it went on."""

    history: list[dict[str, Any]]
    notes: list[str]


def note(notes: list[str], *sentences: str) -> None:
    """Keep sentences for the report, and say them."""
    for sentence in sentences:
        logger.warning("%s", sentence)
    notes.extend(sentences)


@dataclass(frozen=True)
class Outcome:
    """One record per epoch, and whether the user interrupted."""

    history: list[dict[str, Any]]
    interrupted: bool


def run_stage(
    module: Any,
    data: Any,
    *,
    stage: str,
    max_epochs: int,
    options: Mapping[str, Any],
    patience: int = PATIENCE,
    counts_start: bool = False,
    min_gain: float = 0.0,
    resume: Path | None = None,
    attempt: int = 0,
    marks: Mapping[str, Any] | None = None,
) -> Outcome:
    """Train a module and keep its best state, or the start where no loss is finite.

    With `resume` it goes on from the file of the stage in that folder, which must have been written by the same fit:
    same weights at the start, same data, and same settings, those in `marks` among them.
    """
    import lightning as L

    from scnode.train._callbacks import BestState
    from scnode.train._resume import KeepEpoch, Mark, is_through, read_epoch, reopen

    start = copy.deepcopy(module.state_dict())
    best = BestState(stage, counts_start=counts_start)
    stop = L.pytorch.callbacks.EarlyStopping("validation_loss", patience=patience, min_delta=min_gain)
    given = dict(options)
    callbacks = [best, stop, *given.pop("callbacks", [])]
    defaults = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "enable_progress_bar": settings.progress,
        "gradient_clip_val": 1.0,
    }
    name = f"{stage}-{attempt}.ckpt" if attempt else f"{stage}.ckpt"
    interrupted, path, stored = False, None, None
    with _quiet_lightning(), ExitStack() as stack:
        trainer = L.Trainer(max_epochs=max_epochs, callbacks=callbacks, **(defaults | given))
        if resume is None and trainer.world_size > 1:
            # What other processes learn comes back by a file.
            resume = Path(stack.enter_context(TemporaryDirectory()))
        if resume is not None:
            mark = Mark.of(stage, module, data, {"max_epochs": max_epochs, **(marks or {})})
            path = resume / name
            stored = read_epoch(path, mark)
            trainer.callbacks.append(KeepEpoch(path, mark))  # type: ignore[attr-defined]
        if not is_through(stored):
            if stored is not None:
                # The rehearsal was before the first epoch.
                trainer.num_sanity_val_steps = 0
            interrupted = _run(trainer, module, data, None if stored is None else path)
            stored = read_epoch(path, mark) if path is not None and not best.history else None
        if stored is not None:
            reopen(stored, module, data, best)
    if interrupted:
        if best.state is None:
            raise KeyboardInterrupt
        logger.warning("Interrupted after %d epochs of the %s: its best state is kept.", len(best.history), stage)
    module.load_state_dict(start if best.state is None else best.state)
    return Outcome(best.history, interrupted)


def _run(trainer: Any, module: Any, data: Any, path: Path | None) -> bool:
    """Fit, and say whether the user interrupted."""
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=path)
    except torch.multiprocessing.ProcessRaisedException as error:
        if SolverError.__name__ not in str(error):
            raise
        raise SolverError(str(error).strip().splitlines()[-1]) from error
    except SystemExit as end:
        # Lightning turns Ctrl-C into an exit of the whole process and leaves the signal ignored; who ends the process
        # with SIGTERM means it.
        if isinstance(end, SIGTERMException) or not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        return True
    return False


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's advice on hardware and loaders, which is not the user's to follow here."""
    talk = logging.getLogger("lightning.pytorch")
    level = talk.level
    talk.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        talk.setLevel(level)
