"""Unspliced and spliced abundances of the cells, averaged over their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scnode._errors import ScnodeError
from scnode._validation import check_genes, near
from scnode.data._expression import TARGET_SUM, as_csr, check_linear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scnode.data._neighbors import Neighbors

UNSPLICED, SPLICED = "unspliced", "spliced"
_N_SMOOTH = 30


@dataclass(frozen=True)
class Abundance:
    """Both abundances of all genes, per 10,000 spliced molecules of the cell.

    One factor a cell serves both: a factor for each would take the changes of the unspliced total away.

    Parameters
    ----------
    unspliced, spliced
        Shape (cell, gene), CSR, of each cell on its own.
    genes
        Names, shape (gene,).
    smooth
        Averages over neighbours, shape (cell, cell).
    """

    unspliced: sp.csr_matrix
    spliced: sp.csr_matrix
    genes: np.ndarray
    smooth: sp.csr_matrix

    def moments(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means over the neighbours' neighbours, both (cell, gene), float64.

        Averaging twice weighs near cells more than far ones, and leaves half of the noise of one average.
        """
        unspliced, spliced = (
            self.smooth @ (self.smooth @ counts[:, columns].toarray().astype(float))
            for counts in (self.unspliced, self.spliced)
        )
        return unspliced, spliced

    def shared(self) -> np.ndarray:
        """Number of cells with both kinds of molecules of a gene, shape (gene,)."""
        both = (self.unspliced > 0).multiply(self.spliced > 0)
        return np.asarray(both.sum(0)).ravel()

    def columns(self, genes: Sequence[str]) -> np.ndarray:
        """Places of genes that are present and have molecules of both kinds."""
        if isinstance(genes, str) or not len(genes):
            raise ScnodeError(
                f"genes={genes!r} must be a list of names. Pass genes=['Gata1', 'Klf1'], or leave it out."
            )
        names = [str(gene) for gene in genes]
        place = {gene: i for i, gene in enumerate(self.genes)}
        unknown = [gene for gene in names if gene not in place]
        if unknown:
            raise ScnodeError(f"genes= names {unknown[:5]}, not in adata.var_names. {near(unknown[0], self.genes)}")
        if len(set(names)) < len(names):
            twice = sorted({gene for gene in names if names.count(gene) > 1})
            raise ScnodeError(f"genes= names {twice[:5]} more than once. Pass each once.")
        found = np.array([place[gene] for gene in names])
        silent = self.shared()[found] == 0
        if silent.any():
            lacking = [gene for gene, none in zip(names, silent, strict=True) if none]
            raise ScnodeError(
                f"{lacking[:5]} have no cell with both spliced and unspliced counts, so that nothing is known of their "
                f"kinetics. Leave them out of genes= ({len(lacking)} of {len(names)})."
            )
        return found


def read_abundance(adata: AnnData, neighbors: Neighbors) -> Abundance:
    """Read both layers; each cell is scaled by its spliced total."""
    check_genes(adata)
    layers = {}
    for name in (UNSPLICED, SPLICED):
        if name not in adata.layers:
            raise ScnodeError(
                f"adata.layers[{name!r}] not found. {near(name, adata.layers)} field='rna' needs the layers 'spliced' "
                "and 'unspliced', as velocyto or alevin-fry write them; without them leave field= out."
            )
        layers[name] = as_csr(adata.layers[name], f"adata.layers[{name!r}]")
    check_linear(layers[SPLICED], f"adata.layers[{SPLICED!r}]")
    if not (layers[UNSPLICED].data % 1 == 0).all():
        check_linear(layers[UNSPLICED], f"adata.layers[{UNSPLICED!r}]")
    total = np.asarray(layers[SPLICED].sum(1)).ravel()
    if not (total > 0).all():
        empty = adata.obs_names[total == 0][:3].tolist()
        raise ScnodeError(
            f"{(total == 0).sum()} cells have no spliced counts (first: {empty}). "
            "Run scanpy.pp.filter_cells(adata, min_counts=1) first."
        )
    scale = sp.diags(TARGET_SUM / total)
    unspliced, spliced = (sp.csr_matrix(scale @ layers[name]) for name in (UNSPLICED, SPLICED))
    return Abundance(unspliced, spliced, np.asarray(adata.var_names, dtype=str), _averages(neighbors))


def _averages(neighbors: Neighbors) -> sp.csr_matrix:
    """Mean over 30 cells, and over fewer where they would be many of all."""
    n = len(neighbors.index)
    k = int(np.clip(n // 20, min(5, n), _N_SMOOTH))
    index = neighbors.first(k).index
    return sp.csr_matrix((np.full(index.size, 1 / k), index.ravel(), np.arange(0, index.size + 1, k)), shape=(n, n))
