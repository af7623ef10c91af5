"""Cells that stay on disk are fitted as those in memory, a few at a time."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scnode
from scnode import ScnodeError
from scnode.data import _chunks, encode, read_expression, variable_genes
from scnode.data._chunks import Chunks, stacked
from scnode.tl._principal import loadings

FAST = {"n_latent": 3, "n_members": 2, "max_epochs": 3}


def make(n, m, *, seed=0):
    rng = np.random.default_rng(seed)
    time = np.sort(rng.uniform(size=n))
    rate = np.exp(np.sin(3 * time[:, None] * rng.uniform(0.5, 2, m) + rng.uniform(0, 6, m)))
    counts = rng.poisson(rate).astype(np.float32)
    counts[:, 0] += 1
    obs = pd.DataFrame({"pseudotime": time}, index=[f"c{i}" for i in range(n)])
    return ad.AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(m)]))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(_chunks, "_MOST", 0)
    monkeypatch.setattr(_chunks, "_ROWS", 64)
    monkeypatch.setattr("scnode.data._encode._CHUNK", 64)


@pytest.fixture(scope="module")
def counts():
    return make(200, 30)


def stored(adata, kind, folder):
    """The same cells with `X` elsewhere."""
    path = folder / "cells.h5ad"
    adata = adata.copy()
    if kind == "backed dense":
        adata.X = adata.X.toarray()
    if kind.startswith("backed"):
        adata.write_h5ad(path)
        return ad.read_h5ad(path, backed="r")
    if kind == "zarr":
        import zarr

        adata.write_zarr(folder / "cells.zarr")
        adata.X = ad.io.sparse_dataset(zarr.open(str(folder / "cells.zarr"), mode="r")["X"])
        return adata
    array = pytest.importorskip("dask.array")
    adata.X = array.from_array(adata.X.toarray(), chunks=(50, 30))
    return adata


@pytest.mark.parametrize("kind", ["backed csr", "backed dense", "zarr", "dask"])
def test_a_fit_is_that_of_the_cells_in_memory(counts, kind, tmp_path):
    out, memory = stored(counts, kind, tmp_path), counts.copy()
    assert isinstance(read_expression(out).matrix, Chunks)
    for adata in (out, memory):
        scnode.tl.fit(adata, **FAST)
    sign = np.sign((out.obsm["X_scnode"] * memory.obsm["X_scnode"]).sum(0))
    np.testing.assert_allclose(out.obsm["X_scnode"] * sign, memory.obsm["X_scnode"], atol=2e-3)
    assert not isinstance(out.X, np.ndarray)
    for tool in (scnode.tl.jacobian, scnode.tl.ftle, scnode.tl.stiffness, scnode.tl.trajectories):
        tool(out)
    scnode.tl.map(out, memory)
    np.testing.assert_allclose(out.obsm["X_scnode"], memory.obsm["X_scnode"], atol=1e-4)


LEARNED = [
    {"encoder": "autoencoder"},
    {"encoder": "vae", "batch_key": "batch"},
    {"use_rep": "X_rep", "decoder": "linear"},
]


@pytest.fixture(scope="module")
def batched(counts):
    """With a rare batch at the end, and a representation."""
    adata = counts.copy()
    adata.obs["batch"] = np.where(np.arange(200) < 194, "often", "rare")
    adata.obsm["X_rep"] = np.log1p(adata.X.toarray())[:, :4]
    return adata


@pytest.mark.parametrize("options", LEARNED, ids=["autoencoder", "vae", "linear"])
def test_what_is_learned_of_all_cells_is_that_of_the_cells_in_memory(batched, tmp_path, options):
    out, memory = stored(batched, "backed csr", tmp_path), batched.copy()
    for adata in (out, memory):
        scnode.tl.fit(adata, **FAST, **options)
    np.testing.assert_array_equal(out.obsm["velocity_scnode"], memory.obsm["velocity_scnode"])


@pytest.mark.parametrize("options", LEARNED, ids=["autoencoder", "vae", "linear"])
def test_a_sample_stands_for_cells_that_do_not_fit_into_memory(batched, tmp_path, monkeypatch, options):
    monkeypatch.setattr(_chunks, "_SAMPLE", 80 * 30)
    monkeypatch.setattr(_chunks, "_FEWEST", 4)
    largest, take = [], Chunks.take
    monkeypatch.setattr(Chunks, "take", lambda self, rows: largest.append(rows) or take(self, rows))
    out = stored(batched, "backed csr", tmp_path)
    scnode.tl.fit(out, **FAST, **options)
    assert max(map(len, largest)) <= 83
    if "batch_key" in options:
        assert (largest[-1] >= 194).sum() == 4
    assert np.isfinite(out.obsm["X_scnode"]).all()
    assert out.obsm["X_scnode"].shape[0] == 200
    scnode.tl.velocity(out, genes=True)
    rising = np.corrcoef(
        np.log1p(batched.X.toarray())[-1] - np.log1p(batched.X.toarray())[0], out.layers["velocity_scnode"].mean(0)
    )
    assert rising[0, 1] > 0.3


def test_rows_are_taken_from_the_chunks_that_hold_them(counts, tmp_path):
    whole, out = read_expression(counts).matrix, read_expression(stored(counts, "backed csr", tmp_path)).matrix
    rows = np.array([0, 3, 63, 130, 199])
    np.testing.assert_array_equal(out.take(rows).toarray(), whole[rows].toarray())


def test_missing_genes_of_cells_on_disk_are_filled_in(counts, tmp_path):
    scnode.tl.fit(fitted := counts.copy(), **FAST)
    new = counts[:, 2:].copy()
    out = stored(new, "backed csr", tmp_path)
    for adata in (out, new):
        scnode.tl.map(adata, fitted)
    np.testing.assert_allclose(out.obsm["X_scnode"], new.obsm["X_scnode"], atol=1e-6)


def test_components_of_chunks_are_those_of_the_whole(counts, tmp_path):
    whole, out = read_expression(counts), read_expression(stored(counts, "backed csr", tmp_path))
    mean, components = loadings(whole.matrix, 5)
    found = loadings(out.matrix, 5)
    np.testing.assert_allclose(found[0], mean, rtol=1e-5)
    np.testing.assert_allclose(np.abs((found[1] * components).sum(0)), 1, atol=1e-4)
    np.testing.assert_allclose(found[1].T @ found[1], np.eye(5), atol=1e-12)
    np.testing.assert_allclose(out.matrix @ components, whole.matrix @ components, rtol=1e-5)


def test_variable_genes_of_chunks_are_those_of_the_whole(tmp_path):
    adata = make(150, 2300, seed=3)
    whole, out = read_expression(adata), read_expression(stored(adata, "backed csr", tmp_path))
    both = np.intersect1d(variable_genes(whole.matrix), variable_genes(out.matrix))
    assert len(variable_genes(out.matrix)) == 2000
    assert len(both) > 1990


@pytest.mark.parametrize(("value", "fix"), [(np.nan, "1 values that are NaN"), (-1, "1 negative"), (0.5, "not whole")])
def test_values_are_looked_at_in_every_chunk(counts, tmp_path, value, fix):
    adata = counts.copy()
    adata.X = adata.X.toarray() * (100 if value == 0.5 else 1)
    adata.X[180, 3] = value
    with pytest.raises(ScnodeError, match=fix):
        read_expression(stored(adata, "backed csr", tmp_path))


def test_never_more_than_a_chunk_is_read(tmp_path, monkeypatch):
    """Largest read of the file, in rows."""
    adata = make(500, 20)
    adata.X = adata.X.toarray()
    adata.write_h5ad(tmp_path / "a.h5ad")
    rows, read = [], h5py.Dataset.__getitem__

    def watched(self, key, *args, **kwargs):
        found = read(self, key, *args, **kwargs)
        if self.name == "/X":
            rows.append(len(found))
        return found

    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    scnode.tl.fit(backed, **FAST)
    assert sum(rows) >= 500
    assert max(rows) <= 64


def test_small_ones_are_read_as_a_whole(counts, tmp_path, monkeypatch):
    monkeypatch.setattr(_chunks, "_MOST", 1 << 20)
    assert sp.issparse(read_expression(stored(counts, "backed csr", tmp_path)).matrix)


def test_states_of_chunks(counts, tmp_path):
    import torch

    from scnode.nn import PCA

    encoder = PCA(torch.zeros(30).double(), torch.eye(30)[:, :2].double())
    out = read_expression(stored(counts, "backed csr", tmp_path)).matrix
    np.testing.assert_allclose(encode(encoder, out), read_expression(counts).matrix[:, :2].toarray(), rtol=1e-6)


def test_parts_come_below_each_other_in_their_own_kind():
    parts = [np.full((n, 2), n, np.float32) for n in (3, 1, 2)]
    found = stacked(iter(parts), 6)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.concatenate(parts))
