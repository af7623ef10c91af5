"""What scnode raises: every message names what was seen, where, and the call that mends it."""

from __future__ import annotations


class ScnodeError(ValueError):
    """Input or state that scnode cannot work with."""


class EvidenceError(ScnodeError):
    """No evidence of motion, or evidence that cannot be used."""


class SolverError(ScnodeError, RuntimeError):
    """An initial value problem that could not be integrated to its end."""
