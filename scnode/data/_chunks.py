"""Expression that stays where it is stored, and is read a few thousand cells at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from scnode.data._evenly import evenly

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROWS = 4096
_MOST = 1 << 28
"""Entries up to which a stored matrix is read as a whole: 1 GiB where it is dense."""
_SAMPLE = 1 << 28
"""Entries of the cells that stand for all where a fit needs them at once."""
_FEWEST = 200


class Chunks:
    """Rows of a matrix on disk or of dask, as float32 CSR.

    Parameters
    ----------
    source
        Matrix (cell, gene) of h5py, zarr, dask, or a sparse one of anndata's.
    transform
        Of rows (row, gene) with their numbers.
    columns
        Genes to keep after the transform; all by default.
    """

    def __init__(
        self,
        source: Any,
        transform: Callable[[sp.csr_matrix, slice], sp.csr_matrix] | None = None,
        columns: NDArray[np.int64] | None = None,
    ) -> None:
        self.source, self.transform, self.columns = source, transform, columns

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        n, m = self.source.shape
        return int(n), int(m) if self.columns is None else len(self.columns)

    def __getitem__(self, key: Any) -> Any:
        """Rows of a slice as CSR, or with ``[:, genes]`` the same of some genes, still where it is."""
        if isinstance(key, tuple):
            return Chunks(self.source, self.transform, np.asarray(key[1]))
        rows = slice(*key.indices(self.shape[0]))
        read = self.source[rows]
        read = read.compute() if hasattr(read, "compute") else read
        block = sp.csr_matrix(read, dtype=np.float32)
        block.eliminate_zeros()
        block = block if self.transform is None else self.transform(block, rows)
        return block if self.columns is None else block[:, self.columns]

    def blocks(self) -> Iterator[sp.csr_matrix]:
        """All rows in turn."""
        for first in range(0, self.shape[0], _ROWS):
            yield self[first : first + _ROWS]

    def mean(self, axis: int = 0) -> NDArray[np.float64]:
        """Of every gene."""
        del axis
        return np.sum([np.asarray(b.sum(0, dtype=np.float64)).ravel() for b in self.blocks()], axis=0) / self.shape[0]

    def __matmul__(self, dense: NDArray[np.float64]) -> NDArray[np.float64]:
        """Product with a matrix (gene, column)."""
        return stacked((block @ dense for block in self.blocks()), self.shape[0])

    def gram(self) -> NDArray[np.float64]:
        r"""Sum over the cells of :math:`x x^\top`, shape (gene, gene)."""
        total = np.zeros((self.shape[1], self.shape[1]))
        for block in self.blocks():
            dense = block.toarray().astype(np.float64)
            total += dense.T @ dense
        return total

    def take(self, rows: NDArray[np.int64]) -> sp.csr_matrix:
        """Rows of these increasing numbers, in memory."""
        first = range(0, self.shape[0], _ROWS)
        own = np.split(rows, np.searchsorted(rows, first[1:]))
        parts = [self[i : i + _ROWS][some - i] for i, some in zip(first, own, strict=True) if len(some)]
        return sp.csr_matrix(sp.vstack(parts, format="csr"))


def blocks_of(matrix: sp.csr_matrix | Chunks) -> Iterable[sp.csr_matrix]:
    """All rows in turn, of a matrix in memory at once."""
    return matrix.blocks() if isinstance(matrix, Chunks) else [matrix]


def representative(matrix: sp.csr_matrix | Chunks, label: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Numbers of all rows, or of a matrix that stays out of as many as fit into memory, evenly taken of every label."""
    n, m = matrix.shape
    if not isinstance(matrix, Chunks):
        return np.arange(n)
    label = np.zeros(n, int) if label is None else label
    groups = [np.flatnonzero(label == name) for name in np.unique(label)]
    share = _SAMPLE / m / n
    rows = [own[evenly(len(own), max(_FEWEST, int(share * len(own))))] for own in groups]
    return np.sort(np.concatenate(rows))


def stacked(parts: Iterable[NDArray[Any]], n_rows: int) -> NDArray[Any]:
    """Parts (row, ...) below each other, copied as they come: kept, small ones pin the memory of large ones."""
    parts = iter(parts)
    part = next(parts)
    found, place = np.empty((n_rows, *part.shape[1:]), part.dtype), len(part)
    found[:place] = part
    for part in parts:
        found[place : place + len(part)] = part
        place += len(part)
    return found


def stays_out(matrix: Any) -> bool:
    """Whether a matrix is stored somewhere else and too large to be read as a whole."""
    return not isinstance(matrix, np.ndarray) and not sp.issparse(matrix) and int(np.prod(matrix.shape)) > _MOST


def taken(matrix: sp.csr_matrix | Chunks, rows: NDArray[np.int64] | None = None) -> sp.csr_matrix:
    """These rows, increasing, in memory; all of them by default."""
    rows = np.arange(matrix.shape[0]) if rows is None else rows
    if isinstance(matrix, Chunks):
        return matrix.take(rows)
    return matrix if len(rows) == matrix.shape[0] else matrix[rows]
