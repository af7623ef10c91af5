"""Genes that an encoder reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse as sp

_N_GENES = 2000


def variable_genes(matrix: sp.csr_matrix, *, batch: np.ndarray | None = None) -> np.ndarray:
    """Columns of the 2000 most variable genes of log-normalised expression, within batches; else all."""
    if matrix.shape[1] <= _N_GENES:
        return np.arange(matrix.shape[1])
    import pandas as pd
    import scanpy as sc
    from anndata import AnnData

    work = AnnData(X=matrix.copy(), uns={"log1p": {"base": None}})
    if batch is not None:
        work.obs["batch"] = pd.Categorical(batch)
    sc.pp.highly_variable_genes(work, n_top_genes=_N_GENES, batch_key=None if batch is None else "batch")
    return np.flatnonzero(work.var["highly_variable"].to_numpy())
