import numpy as np
import pytest
import scipy.sparse as sp

import scnode
from scnode import ScnodeError


@pytest.fixture(scope="module")
def cells():
    return scnode.datasets.bifurcation(n_cells=300, n_genes=40, rng=2)


@pytest.mark.parametrize("mode", ["deterministic", "stochastic", pytest.param("dynamical", marks=pytest.mark.slow)])
def test_velocity_follows_the_truth_and_counts_stay(cells, mode):
    adata = cells.copy()
    scnode.pp.velocity(adata, mode=mode)
    fitted = adata.var["velocity_genes"].to_numpy()
    assert fitted.sum() >= 20
    assert np.isfinite(adata.layers["velocity"][:, fitted]).all()
    assert np.isnan(adata.layers["velocity"][:, ~fitted]).all()
    truth = np.asarray(cells.layers["true_velocity"])[:, fitted]
    fast = np.linalg.norm(truth, axis=1) > np.median(np.linalg.norm(truth, axis=1))
    agreement = scnode.metrics.cosine(adata.layers["velocity"][:, fitted], truth)[fast]
    assert agreement.mean() > 0.3
    for layer in ("spliced", "unspliced"):
        assert (adata.layers[layer] != cells.layers[layer]).nnz == 0
    assert (adata.X != cells.X).nnz == 0
    assert list(adata.obs) == list(cells.obs)
    assert not adata.obsp


def test_stochastic_slope_is_the_least_squares_one():
    from scnode.data._scvelo import _generalised_slopes

    rng = np.random.default_rng(0)
    x, y, x2, y2 = rng.uniform(1, 2, (4, 30, 3))
    std, std2 = rng.uniform(1, 2, (2, 3))
    slopes = _generalised_slopes(x, y, x2, y2, std, std2, False, False, [0, 0])[2]  # noqa: FBT003
    for i in range(3):
        a, b = np.r_[x[:, i] / std[i], x2[:, i] / std2[i]], np.r_[y[:, i] / std[i], y2[:, i] / std2[i]]
        np.testing.assert_allclose(slopes[i], np.linalg.lstsq(a[:, None], b, rcond=None)[0][0])


@pytest.mark.parametrize("convert", [sp.csc_matrix, lambda m: m.toarray()], ids=["csc", "dense"])
def test_storage_does_not_matter(cells, convert):
    other = cells.copy()
    for layer in ("spliced", "unspliced"):
        other.layers[layer] = convert(other.layers[layer])
    one, two = (scnode.pp.velocity(a, copy=True).layers["velocity"] for a in (cells, other))
    np.testing.assert_array_equal(one, two)
    assert "velocity" not in cells.layers


def test_a_fit_from_counts_equals_one_from_the_layer(cells):
    options = {"n_members": 1, "max_epochs": 1}
    direct = scnode.tl.fit(cells, copy=True, **options)
    stored = scnode.pp.velocity(cells, copy=True)
    scnode.tl.fit(stored, **options)
    np.testing.assert_array_equal(direct.obsm["velocity_scnode"], stored.obsm["velocity_scnode"])


def spoil(adata, what):
    if what == "no unspliced":
        adata.layers["unsplced"] = adata.layers.pop("unspliced")
    elif what == "negative":
        adata.layers["unspliced"] = -adata.layers["unspliced"]
    elif what == "empty cell":
        keep = sp.diags(np.r_[0.0, np.ones(adata.n_obs - 1)])
        adata.layers["spliced"] = sp.csr_matrix(keep @ adata.layers["spliced"])


@pytest.mark.parametrize(
    ("what", "options", "fix"),
    [
        ("no unspliced", {}, "Did you mean 'unsplced'"),
        ("negative", {}, "negative"),
        ("empty cell", {}, "filter_cells"),
        ("", {"mode": "magic"}, "'stochastic'"),
        ("", {"n_neighbors": 1}, "at least 2"),
    ],
)
def test_errors_name_the_mending_call(cells, what, options, fix):
    adata = cells.copy()
    spoil(adata, what)
    with pytest.raises(ScnodeError, match=fix):
        scnode.pp.velocity(adata, **options)
    assert "velocity" not in adata.layers
