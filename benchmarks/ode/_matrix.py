"""The rate at which this machine multiplies matrices: the limit of everything that a network costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from _measure import race
from torch import Tensor


def matrix_rate() -> float:
    """Operations per second of the fastest single-precision product, in ATen's library or in oneDNN's."""
    runs: dict[tuple[str, int], Callable[[], Tensor]] = {}
    for size in (512, 1024):
        a, b = torch.randn(size, size), torch.randn(size, size)
        runs["ATen", size] = partial(repeated, torch.mm, a, b, size)
        if torch.backends.mkldnn.is_available():
            runs["oneDNN", size] = partial(repeated, onednn_mm, a, b, size)
    timed = race(runs)
    return max(2 * size**3 * times(size) / timed[library, size].seconds for library, size in timed)


def times(size: int) -> int:
    return max(1, 2 * (2048 // size) ** 2)


def repeated(multiply: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor, size: int) -> Tensor:
    for _ in range(times(size)):
        c = multiply(a, b)
    return c


def onednn_mm(a: Tensor, b: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
