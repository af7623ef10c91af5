"""Linear combinations as they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def write_sum(coefficients: Iterable[float], names: Iterable[str]) -> str:
    """``"A + 2 B - 0.5"``: without terms that are zero, a factor of 1, or the name ``"1"``."""
    text = ""
    for coefficient, name in zip(coefficients, names, strict=True):
        if coefficient:
            sign = (" - " if coefficient < 0 else " + ") if text else ("-" if coefficient < 0 else "")
            size = f"{abs(coefficient):.4g}"
            text += sign + (size if name == "1" else name if size == "1" else f"{size} {name}")
    return text or "0"
