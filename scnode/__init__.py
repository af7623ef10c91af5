"""Latent neural ODEs for single-cell dynamics, native to AnnData."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from types import ModuleType

from ._errors import EvidenceError, ScnodeError, SolverError
from ._settings import settings

__version__ = version("scnode")
_SUBMODULES = ("datasets", "get", "metrics", "model", "nn", "ode", "pl", "pp", "tl")
__all__ = ["EvidenceError", "ScnodeError", "SolverError", "__version__", "settings"]


def __getattr__(name: str) -> ModuleType:
    """Import a submodule at its first use, so that `import scnode` stays light."""
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBMODULES])
