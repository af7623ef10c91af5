"""Fields and readouts that differ between the rows of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Rowwise = TypeVar("Rowwise")


def at_rows(whole: Rowwise, rows: Tensor) -> Rowwise:
    """That of some rows of the batch alone, by its method ``at_rows``; itself where it has none."""
    taken = getattr(whole, "at_rows", None)
    return whole if taken is None else taken(rows)
