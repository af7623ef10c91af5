"""Package-wide settings."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("scnode")
_LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)


@dataclass
class Settings:
    """Settings that hold for the whole session.

    Parameters
    ----------
    verbosity
        0 errors only, 1 warnings, 2 one line per step and progress bars, 3 everything.
    """

    verbosity: int = 2

    def __setattr__(self, name: str, value: int) -> None:
        """Set an option that exists; `verbosity` moves the logger's level with it."""
        if name not in {f.name for f in fields(self)}:
            raise AttributeError(f"scnode.settings has no option {name!r}; options: {[f.name for f in fields(self)]}.")
        if name == "verbosity":
            if value not in range(len(_LEVELS)):
                raise ValueError(f"verbosity={value!r} is not one of 0, 1, 2, 3.")
            logger.setLevel(_LEVELS[value])
        object.__setattr__(self, name, value)

    @property
    def progress(self) -> bool:
        """Whether long work draws a progress bar."""
        return self.verbosity >= 2

    @contextmanager
    def override(self, **options: int) -> Iterator[None]:
        """Set options for the length of a `with` block."""
        before = {name: getattr(self, name) for name in options}
        try:
            for name, value in options.items():
                setattr(self, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(self, name, value)


def _attach_handler() -> None:
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


_attach_handler()
settings = Settings()
