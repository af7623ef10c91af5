"""What every simulated data set promises."""

from __future__ import annotations

from functools import cache

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scnode import ScnodeError
from scnode.datasets import bifurcation, branching, limit_cycle, stiff

SMALL = {"n_cells": 60, "n_genes": 30}
ALL = pytest.mark.parametrize("simulate", [bifurcation, branching, limit_cycle, stiff])


@cache
def small(simulate):
    """Simulated once for all tests that only read it."""
    return simulate(**SMALL, rng=3)


@ALL
def test_same_seed_gives_same_bits(simulate):
    first, second, other = small(simulate), simulate(**SMALL, rng=3), simulate(**SMALL, rng=4)
    for layer in ("true_spliced", "true_unspliced", "true_velocity"):
        np.testing.assert_array_equal(first.layers[layer], second.layers[layer])
    assert (first.X != second.X).nnz == 0
    assert (first.layers["unspliced"] != second.layers["unspliced"]).nnz == 0
    pd.testing.assert_frame_equal(first.obs, second.obs)
    pd.testing.assert_frame_equal(first.var, second.var)
    assert (first.X != other.X).nnz > 0


@ALL
def test_generator_is_taken_and_global_state_left(simulate):
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    from_generator = simulate(**SMALL, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert (from_generator.X != small(simulate).X).nnz == 0


@ALL
def test_counts_are_sparse_integers_at_depth(simulate):
    adata = simulate(n_cells=300, n_genes=30, depth=90.0)
    for matrix in (adata.X, adata.layers["spliced"], adata.layers["unspliced"]):
        assert sparse.issparse(matrix)
        assert matrix.format == "csr"
        assert matrix.dtype == np.float32
        assert (matrix.data == np.round(matrix.data)).all()
        assert (matrix.data > 0).all()
    assert adata.X.sum(axis=1).mean() == pytest.approx(90, rel=0.1)
    assert 0.1 < adata.layers["unspliced"].sum() / adata.layers["spliced"].sum() < 0.6


@ALL
def test_without_counts_layers_are_exact(simulate):
    adata = simulate(**SMALL, counts=False)
    np.testing.assert_array_equal(adata.X.toarray(), adata.layers["true_spliced"])
    np.testing.assert_array_equal(adata.layers["unspliced"].toarray(), adata.layers["true_unspliced"])


@ALL
def test_velocity_is_splicing_less_degradation(simulate):
    adata = small(simulate)
    gain = adata.var["beta"].to_numpy() * adata.layers["true_unspliced"]
    loss = adata.var["gamma"].to_numpy() * adata.layers["true_spliced"]
    tolerance = 1e-5 * (np.abs(gain) + np.abs(loss)) + 1e-5
    assert (np.abs(adata.layers["true_velocity"] - (gain - loss)) < tolerance).all()


@ALL
def test_names_and_labels(simulate):
    adata = small(simulate)
    assert adata.obs_names[0] == "cell_0"
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique
    for column in ("true_fate", "clusters"):
        assert isinstance(adata.obs[column].dtype, pd.CategoricalDtype)
        assert adata.obs[column].notna().all()
    network = adata.uns["simulation"]["network"]
    assert set(network["regulator"]) | set(network["target"]) <= set(adata.var_names)
    assert set(network["regulator"]) <= set(adata.var_names[adata.var["role"] == "regulator"])
    assert set(network["sign"]) == {-1, 1}


@ALL
def test_survives_h5ad(simulate, tmp_path):
    adata = small(simulate)
    adata.write_h5ad(tmp_path / "simulated.h5ad")
    back = ad.read_h5ad(tmp_path / "simulated.h5ad")
    np.testing.assert_array_equal(back.layers["true_velocity"], adata.layers["true_velocity"])
    pd.testing.assert_frame_equal(back.obs, adata.obs, check_categorical=False)
    assert back.uns["simulation"]["name"] == simulate.__name__
    assert len(back.uns["simulation"]["network"]) == len(adata.uns["simulation"]["network"])


@ALL
@pytest.mark.parametrize(
    "arguments", [{"n_cells": 0}, {"n_genes": 2}, {"noise": -0.1}, {"noise": np.nan}, {"depth": 0.0}]
)
def test_impossible_requests_name_the_value_and_the_call(simulate, arguments):
    (name, value) = next(iter(arguments.items()))
    with pytest.raises(ScnodeError, match=rf"{name}={value}.*scnode\.datasets\.{simulate.__name__}\("):
        simulate(**arguments)


@ALL
def test_smallest_request(simulate):
    n_genes = {"bifurcation": 9, "branching": 15, "limit_cycle": 3, "stiff": 4}[simulate.__name__]
    adata = simulate(n_cells=1, n_genes=n_genes)
    assert adata.shape == (1, n_genes)
    assert set(adata.var["role"]) == {"regulator"}
