import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from scnode import ScnodeError
from scnode.data import read_expression


@pytest.fixture
def counts():
    matrix = np.random.default_rng(0).poisson(2.0, (20, 8)).astype(np.float32)
    matrix[:, 0] += 1
    return ad.AnnData(matrix)


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix, sp.csc_matrix, sp.csr_array], ids=str)
def test_counts_become_log_of_counts_per_ten_thousand(counts, convert):
    raw = counts.X.copy()
    counts.X = convert(raw)
    read = read_expression(counts)
    assert read.transform == "log1p_cp10k"
    np.testing.assert_allclose(read.matrix.toarray(), np.log1p(1e4 * raw / raw.sum(1, keepdims=True)), rtol=1e-5)
    np.testing.assert_array_equal(counts.X.toarray() if sp.issparse(counts.X) else counts.X, raw)


def test_normalised_values_are_taken_as_they_are(counts):
    counts.layers["log"] = np.log1p(counts.X / 3)
    read = read_expression(counts, layer="log")
    assert read.transform == "none"
    np.testing.assert_array_equal(read.matrix.toarray(), counts.layers["log"])


def test_stored_zeros_and_order_of_the_input_stay(counts):
    matrix = sp.csr_matrix(counts.X)
    matrix.data[:3] = 0
    matrix.indices[:2] = matrix.indices[:2][::-1].copy()
    counts.X = matrix
    before = counts.X.copy()
    read_expression(counts)
    np.testing.assert_array_equal(counts.X.data, before.data)
    np.testing.assert_array_equal(counts.X.indices, before.indices)


@pytest.mark.parametrize(
    ("spoil", "fix"), [(-1.0, "negative"), (np.inf, "infinite"), (np.nan, "NaN")], ids=["negative", "inf", "nan"]
)
def test_values_that_no_expression_has(counts, spoil, fix):
    counts.X[2, 3] = spoil
    with pytest.raises(ScnodeError, match=fix):
        read_expression(counts)


def test_empty_cells_and_doubled_genes(counts):
    empty = counts.copy()
    empty.X[4] = 0
    with pytest.raises(ScnodeError, match="filter_cells"):
        read_expression(empty)
    counts.var_names = ["a", "a", *counts.var_names[2:]]
    with pytest.raises(ScnodeError, match="var_names_make_unique"):
        read_expression(counts)


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix, sp.csc_matrix], ids=["dense", "csr", "csc"])
@pytest.mark.parametrize("layer", [None, "counts"])
def test_backed_files_and_views_read_the_same(counts, tmp_path, convert, layer):
    expected = read_expression(counts)
    counts.layers["counts"] = counts.X.copy()
    counts.X = convert(counts.X)
    counts.write_h5ad(tmp_path / "counts.h5ad")
    backed = ad.read_h5ad(tmp_path / "counts.h5ad", backed="r")
    for adata in (backed, counts[:], counts[::-1]):
        read = read_expression(adata, layer=layer)
        rows = counts.obs_names.get_indexer(adata.obs_names)
        np.testing.assert_array_equal(read.matrix.toarray(), expected.matrix.toarray()[rows])
        np.testing.assert_array_equal(read.size, expected.size[rows])
        assert read.transform == "log1p_cp10k"
    backed.file.close()


def test_only_counts_need_a_total(counts):
    counts.X = np.log1p(counts.X)
    counts.X[4] = 0
    assert read_expression(counts).size[4] == 0


def test_nothing_to_read(counts):
    del counts.X
    with pytest.raises(ScnodeError, match=r"adata.X is None. Pass layer="):
        read_expression(counts)


def test_zeros_and_ones_are_no_counts(counts):
    counts.X = (counts.X > 2).astype(np.float32)
    read = read_expression(counts)
    assert read.transform == "none"
    np.testing.assert_array_equal(read.matrix.toarray(), counts.X)


def test_counts_come_back_from_their_logarithms():
    rng = np.random.default_rng(0)
    raw = rng.poisson(10 ** rng.uniform(-2, 5, (30, 40))).astype(np.float32)
    read = read_expression(ad.AnnData(sp.csr_matrix(raw)))
    columns = np.arange(0, 40, 3)
    np.testing.assert_array_equal(read.sample(columns)[0].counts().toarray(), raw[:, columns])


def test_logarithms_of_unknown_counts_have_none(counts):
    counts.X = np.log1p(counts.X / 3)
    with pytest.raises(ScnodeError, match="Pass layer= with counts"):
        read_expression(counts).counts()
