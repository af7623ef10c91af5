import numpy as np
import pytest
import scipy.sparse as sp

import scnode
from scnode import ScnodeError
from scnode.data import Neighbors, read_abundance


@pytest.fixture(scope="module")
def cells():
    return scnode.datasets.bifurcation(n_cells=120, n_genes=20, rng=3)


@pytest.fixture(scope="module")
def neighbors(cells):
    return Neighbors.of(np.log1p(cells.X.toarray()), k=30)


def test_one_factor_a_cell_serves_both_layers(cells, neighbors):
    found = read_abundance(cells, neighbors)
    np.testing.assert_allclose(found.spliced.sum(1), 1e4, rtol=1e-5)
    total = cells.layers["spliced"].sum(1)
    np.testing.assert_allclose(found.unspliced.toarray(), 1e4 * cells.layers["unspliced"].toarray() / total, rtol=1e-5)


def test_moments_are_means_of_means(cells, neighbors):
    found = read_abundance(cells, neighbors)
    columns = np.array([4, 1])
    once = found.spliced[:, columns].toarray()[neighbors.index[:, :6]].mean(1)
    np.testing.assert_allclose(found.moments(columns)[1], once[neighbors.index[:, :6]].mean(1), rtol=1e-6)


def test_genes_are_found_by_name_in_the_order_asked(cells, neighbors):
    found = read_abundance(cells, neighbors)
    assert found.columns([cells.var_names[5], cells.var_names[2]]).tolist() == [5, 2]


def test_shared_counts_cells_with_both(cells, neighbors):
    u, s = (cells.layers[name].toarray() > 0 for name in ("unspliced", "spliced"))
    assert read_abundance(cells, neighbors).shared().tolist() == (u & s).sum(0).tolist()


@pytest.mark.parametrize("form", [sp.csc_matrix, lambda m: m.toarray(), sp.csr_matrix])
def test_any_form_of_matrix_reads_alike(cells, neighbors, form):
    other = cells.copy()
    for name in ("spliced", "unspliced"):
        other.layers[name] = form(cells.layers[name])
    found, expected = read_abundance(other, neighbors), read_abundance(cells, neighbors)
    assert (found.unspliced != expected.unspliced).nnz == 0


def spoiled(cells, change):
    adata = cells.copy()
    change(adata)
    return adata


BAD = {
    "missing layer": (lambda a: a.layers.pop("unspliced"), "without them leave field= out"),
    "negative": (lambda a: a.layers.update(unspliced=-a.layers["unspliced"]), "negative values"),
    "infinite": (lambda a: a.layers.update(spliced=a.layers["spliced"] * np.inf), "NaN or infinite"),
    "logarithms": (lambda a: a.layers.update(spliced=a.layers["spliced"].log1p()), "looks log-transformed"),
    "log unspliced": (lambda a: a.layers.update(unspliced=a.layers["unspliced"].log1p()), "looks log-transformed"),
}


@pytest.mark.parametrize("kind", sorted(BAD))
def test_layers_that_are_no_counts_are_named(cells, neighbors, kind):
    change, message = BAD[kind]
    with pytest.raises(ScnodeError, match=message):
        read_abundance(spoiled(cells, change), neighbors)


def test_empty_cells_are_named(cells, neighbors):
    def empty(adata):
        counts = adata.layers["spliced"].toarray()
        counts[7] = 0
        adata.layers["spliced"] = counts

    with pytest.raises(ScnodeError, match=r"first: \['cell_7'\].*filter_cells"):
        read_abundance(spoiled(cells, empty), neighbors)


def test_genes_that_cannot_be_used_are_named(cells, neighbors):
    found = read_abundance(cells, neighbors)
    with pytest.raises(ScnodeError, match=r"\['FateA_TF'\].*Did you mean 'FateA_TF"):
        found.columns(["FateA_TF"])
    with pytest.raises(ScnodeError, match="more than once"):
        found.columns(["FateA_TF1", "FateA_TF1"])
    for wrong in ("FateA_TF1", []):
        with pytest.raises(ScnodeError, match="list of names"):
            found.columns(wrong)
    silent = cells.copy()
    silent.layers["unspliced"] = cells.layers["unspliced"].multiply(np.arange(20) != 3).tocsr()
    with pytest.raises(ScnodeError, match="no cell with both spliced and unspliced"):
        read_abundance(silent, neighbors).columns([cells.var_names[3]])
