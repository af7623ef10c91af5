"""Genes that an encoder reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode.data._chunks import Chunks, representative, taken

if TYPE_CHECKING:
    import scipy.sparse as sp

_N_GENES = 2000


def variable_genes(matrix: sp.csr_matrix | Chunks, *, batch: np.ndarray | None = None) -> np.ndarray:
    """Columns of the 2000 most variable genes of log-normalised expression, within batches; else all."""
    if matrix.shape[1] <= _N_GENES:
        return np.arange(matrix.shape[1])
    if isinstance(matrix, Chunks) and batch is None:
        return _most_dispersed(matrix)
    import pandas as pd
    import scanpy as sc
    from anndata import AnnData

    rows = representative(matrix, batch)
    work = AnnData(X=taken(matrix, rows).copy(), uns={"log1p": {"base": None}})
    if batch is not None:
        work.obs["batch"] = pd.Categorical(batch[rows])
    sc.pp.highly_variable_genes(work, n_top_genes=_N_GENES, batch_key=None if batch is None else "batch")
    return np.flatnonzero(work.var["highly_variable"].to_numpy())


def _most_dispersed(matrix: Chunks) -> np.ndarray:
    """The same by one pass: variance over mean, standardised among genes of like mean, as scanpy's by default."""
    import pandas as pd

    n, first, second = matrix.shape[0], np.zeros(matrix.shape[1]), np.zeros(matrix.shape[1])
    for block in matrix.blocks():
        linear = block.astype(np.float64).expm1()
        first += np.asarray(linear.sum(0)).ravel()
        second += np.asarray(linear.multiply(linear).sum(0)).ravel()
    mean = first / n
    variance = (second / n - mean**2) * n / (n - 1)
    mean = np.where(mean == 0, 1e-12, mean)
    table = pd.DataFrame(
        {"mean": np.log1p(mean), "dispersion": np.log(np.where(variance > 0, variance / mean, np.nan))}
    )
    grouped = table["dispersion"].groupby(pd.cut(table["mean"], bins=20), observed=True)
    average, spread = grouped.transform("mean"), grouped.transform("std")
    # A gene alone in its bin counts as one standard deviation above.
    alone = spread.isna()
    score = (table["dispersion"] - average.mask(alone, 0.0)) / spread.mask(alone, average)
    return np.sort(score.fillna(-np.inf).to_numpy().argsort(kind="stable")[::-1][:_N_GENES])
