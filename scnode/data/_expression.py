"""Expression as the encoder sees it, with the transform that made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from scnode._errors import ScnodeError
from scnode._settings import logger
from scnode._validation import check_genes, check_layer
from scnode.data._chunks import Chunks, blocks_of, representative, stays_out, taken

if TYPE_CHECKING:
    from anndata import AnnData

TARGET_SUM = 1e4
_COUNTS = "log1p_cp10k"
# log1p of counts per 10,000 cannot exceed the first; no logarithm of expression reaches the second.
_LARGEST_LOG = float(np.log1p(TARGET_SUM)) + 0.1
_NO_LOG = 100.0


@dataclass(frozen=True)
class Expression:
    """Log-normalised expression of all cells.

    Parameters
    ----------
    matrix
        Shape (cell, gene), float32 CSR; large ones that are stored elsewhere are read in chunks.
    genes
        Gene names, shape (gene,).
    transform
        ``"log1p_cp10k"`` when counts were normalised here, ``"none"`` when they came normalised.
    size
        Total of each cell before the transform, shape (cell,).
    """

    matrix: sp.csr_matrix | Chunks
    genes: np.ndarray
    transform: str
    size: np.ndarray

    def sample(self, genes: np.ndarray, *, batch: np.ndarray | None = None) -> tuple[Expression, np.ndarray]:
        """Some genes in memory, of all cells or of as many as fit, evenly taken of every batch, and their numbers."""
        matrix = self.matrix[:, genes]
        rows = representative(matrix, batch)
        if len(rows) < matrix.shape[0]:
            logger.info("%d of %d cells, evenly taken, stand for all in memory.", len(rows), matrix.shape[0])
        return Expression(taken(matrix, rows), self.genes[genes], self.transform, self.size[rows]), rows

    def counts(self) -> sp.csr_matrix:
        """Counts, float32 CSR; whole numbers come back from their logarithms exactly."""
        if self.transform == "none":
            raise ScnodeError(
                "The expression is log-normalised, and this encoder needs raw counts. Pass layer= with counts, or "
                "encoder='autoencoder'."
            )
        per_cell = sp.diags(self.size.astype(np.float64) / TARGET_SUM)
        matrix = taken(self.matrix)
        counts = (per_cell @ matrix.astype(np.float64).expm1()).tocsr()
        counts.data = np.rint(counts.data)
        return counts.astype(np.float32)


def read_expression(adata: AnnData, *, layer: str | None = None) -> Expression:
    """Read `X` or a layer; raw counts are brought to log1p of counts per 10,000."""
    check_layer(adata, layer)
    check_genes(adata)
    where = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    stored = adata.X if layer is None else adata.layers[layer]
    if stored is None:
        raise ScnodeError(f"{where} is None. Pass layer= with counts or log-normalised values, or use_rep=.")
    matrix = Chunks(stored) if stays_out(stored) else as_csr(stored, where)
    found = _look(matrix, where)
    genes = np.asarray(adata.var_names, dtype=str)
    if not (found.whole and found.most > 1):
        if found.most > _NO_LOG:
            raise ScnodeError(
                f"{where} reaches {found.most:.4g} and is not whole: it looks normalised but not "
                "log-transformed. Run scanpy.pp.log1p(adata), or pass layer= with counts."
            )
        return Expression(matrix, genes, "none", found.size)
    size = found.size
    if not (size > 0).all():
        empty = adata.obs_names[size == 0][:3].tolist()
        raise ScnodeError(
            f"{(size == 0).sum()} cells of {where} have no counts (first: {empty}). "
            "Run scanpy.pp.filter_cells(adata, min_counts=1) first."
        )
    logger.info("%s holds raw counts: encoded as log1p of counts per 10,000; X is left as it is.", where)
    if isinstance(matrix, Chunks):
        return Expression(Chunks(stored, lambda block, rows: log_normalise(block, size[rows])), genes, _COUNTS, size)
    return Expression(log_normalise(matrix, size), genes, _COUNTS, size)


@dataclass(frozen=True)
class _Look:
    """What there is in a matrix: totals of the cells, the largest value, and whether all are whole."""

    size: np.ndarray
    most: float
    whole: bool


def _look(matrix: sp.csr_matrix | Chunks, where: str) -> _Look:
    """One pass over all values, which refuses those that no expression has."""
    sizes, most, whole, bad, negative = [], [0.0], True, 0, 0
    for block in blocks_of(matrix):
        sizes.append(np.asarray(block.sum(1)).ravel())
        bad += int((~np.isfinite(block.data)).sum())
        negative += int((block.data < 0).sum())
        most.append(float(block.data.max(initial=0.0)))
        whole = whole and bool((block.data == np.rint(block.data)).all())
    _refuse(bad, negative, where)
    return _Look(np.concatenate(sizes), max(most), whole)


def _refuse(bad: int, negative: int, where: str) -> None:
    if bad:
        raise ScnodeError(f"{where} has {bad} values that are NaN or infinite. Drop them.")
    if negative:
        raise ScnodeError(
            f"{where} has {negative} negative values, as scaled data do. "
            "Pass layer= with counts or log-normalised values, or use_rep= with an embedding."
        )


def as_csr(matrix: Any, where: str) -> sp.csr_matrix:
    """Any matrix of AnnData, backed ones included, as finite non-negative float32 CSR."""
    if matrix is None:
        raise ScnodeError(f"{where} is None. Pass layer= with counts or log-normalised values, or use_rep=.")
    loaded = matrix.to_memory() if hasattr(matrix, "to_memory") else matrix
    loaded = loaded.compute() if hasattr(loaded, "compute") else loaded
    csr = sp.csr_matrix(loaded[:] if not hasattr(loaded, "dtype") else loaded, dtype=np.float32, copy=True)
    _refuse(int((~np.isfinite(csr.data)).sum()), int((csr.data < 0).sum()), where)
    csr.eliminate_zeros()
    csr.sort_indices()
    return csr


def check_linear(matrix: sp.csr_matrix, where: str) -> None:
    """Counts or abundances, not their logarithms."""
    if matrix.nnz and not _is_counts(matrix) and matrix.data.max() < _LARGEST_LOG:
        raise ScnodeError(
            f"{where} is not whole and nowhere above {matrix.data.max():.3g}: it looks log-transformed, and RNA "
            "velocity needs counts. Put the counts back into the layer."
        )


def log_normalise(counts: sp.csr_matrix, size: np.ndarray) -> sp.csr_matrix:
    """log1p of counts per 10,000 of the cell's `size`."""
    scaled = sp.diags((TARGET_SUM / size).astype(np.float32)) @ counts
    return sp.csr_matrix(scaled.log1p())


def _is_counts(matrix: sp.csr_matrix) -> bool:
    return bool(matrix.nnz) and float(matrix.data.max()) > 1 and bool((matrix.data == np.rint(matrix.data)).all())
