"""Fields and readouts that differ between the rows of a batch."""

from __future__ import annotations

from types import MethodType
from typing import TypeVar, cast

from torch import Tensor

Rowwise = TypeVar("Rowwise")


def at_rows(whole: Rowwise, rows: Tensor) -> Rowwise:
    """That of some rows of the batch alone, by its method ``at_rows``; itself where it has none.

    A tensor (row, value) has a row for each, and one of fewer dimensions is the same for all. A bound method, such as
    the mean of a field, is that of the object's rows.
    """
    if isinstance(whole, Tensor):
        return cast("Rowwise", whole[rows]) if whole.ndim == 2 else whole
    if isinstance(whole, MethodType):
        owner = at_rows(whole.__self__, rows)
        return whole if owner is whole.__self__ else getattr(owner, whole.__name__)
    taken = getattr(whole, "at_rows", None)
    return whole if taken is None else taken(rows)
