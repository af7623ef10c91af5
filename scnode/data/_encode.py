"""Cells through an encoder, a few at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode.data._chunks import stacked

if TYPE_CHECKING:
    import scipy.sparse as sp
    from torch import Tensor

    from scnode.data._chunks import Chunks
    from scnode.nn import Encoder

_CHUNK = 1024


def encode(encoder: Encoder, matrix: sp.csr_matrix | Chunks, *, batch: np.ndarray | None = None) -> np.ndarray:
    """Latent states (cell, latent), float64, of expression (cell, gene) by an encoder in double precision."""
    import torch

    def part(rows: slice) -> np.ndarray:
        x = torch.from_numpy(matrix[rows].toarray().astype(np.float64))
        with torch.no_grad():
            return encoder.encode(x, _codes(batch, rows)).numpy()

    return stacked((part(rows) for rows in _chunks(matrix.shape[0])), matrix.shape[0])


def encode_velocity(
    encoder: Encoder, states: np.ndarray, velocity: np.ndarray, *, batch: np.ndarray | None = None
) -> np.ndarray:
    """Latent velocity (cell, latent), float64, of a gene velocity at given expression, both (cell, gene)."""
    import torch

    def part(rows: slice) -> np.ndarray:
        x, v = (torch.from_numpy(a[rows].astype(np.float64)) for a in (states, velocity))
        with torch.no_grad():
            return encoder.encode_velocity(x, v, _codes(batch, rows)).numpy()

    return stacked((part(rows) for rows in _chunks(len(states))), len(states))


def _chunks(n: int) -> list[slice]:
    return [slice(i, i + _CHUNK) for i in range(0, n, _CHUNK)]


def _codes(batch: np.ndarray | None, rows: slice) -> Tensor | None:
    import torch

    return None if batch is None else torch.from_numpy(batch[rows])
