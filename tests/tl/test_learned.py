"""What learned encoders are for: structure stays, batches go."""

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.neighbors import NearestNeighbors

from scnode.data import read_expression
from scnode.tl._learned import _log_share, _without_batches
from scnode.tl._space import build_space


def clusters(shares, n=600, n_genes=80):
    """Counts of three clusters in two batches, with a multiplicative effect of the batch on every gene."""
    rng = np.random.default_rng(0)
    cluster = rng.integers(3, size=n)
    batch = (rng.random(n) < np.array(shares)[cluster]).astype(int)
    log = rng.normal(0, 1, n_genes) + rng.normal(0, 0.8, (3, n_genes))[cluster]
    log += rng.normal(0, 0.7, (2, n_genes))[batch] + rng.normal(size=(n, 1)) * rng.normal(0, 0.3, n_genes)
    rate = np.exp(log)
    rate *= rng.lognormal(7, 0.3, (n, 1)) / rate.sum(1, keepdims=True)
    adata = ad.AnnData(sp.csr_matrix(rng.poisson(rate * rng.gamma(5, 0.2, rate.shape)).astype(np.float32)))
    adata.obs["cluster"], adata.obs["batch"] = cluster, np.array(["x", "y"])[batch]
    return adata


def mixing_and_purity(latent, adata):
    """Neighbours of the other batch, relative to its share in the cluster, and of the same cluster."""
    cluster, batch = adata.obs["cluster"].to_numpy(), adata.obs["batch"].to_numpy()
    near = NearestNeighbors(n_neighbors=15).fit(latent).kneighbors(return_distance=False)
    other = (batch[near] != batch[:, None]).mean(1)
    expected = [(batch[cluster == c] != b).mean() for c, b in zip(cluster, batch, strict=True)]
    return (other / expected).mean(), (cluster[near] == cluster[:, None]).mean()


def latent(adata, **options):
    return build_space(adata, use_rep=None, layer=None, n_latent=6, **options).latent


@pytest.mark.parametrize("encoder", ["vae", "vae-zinb"])
def test_a_vae_mixes_batches_and_keeps_clusters_apart(encoder):
    adata = clusters(shares=[0.5, 0.5, 0.5])
    plain, _ = mixing_and_purity(latent(adata), adata)
    mixing, purity = mixing_and_purity(latent(adata, encoder=encoder, batch_key="batch"), adata)
    assert plain < 0.1
    assert mixing > 0.85
    assert purity > 0.99


def test_where_batches_differ_in_composition_mixing_still_gains_and_clusters_stay():
    adata = clusters(shares=[0.2, 0.5, 0.8])
    plain, _ = mixing_and_purity(latent(adata), adata)
    mixing, purity = mixing_and_purity(latent(adata, encoder="vae", batch_key="batch"), adata)
    assert plain < 0.1
    assert mixing > 0.3
    assert purity > 0.99


def test_without_batch_key_batches_stay_apart():
    adata = clusters(shares=[0.5, 0.5, 0.5])
    assert mixing_and_purity(latent(adata, encoder="vae"), adata)[0] < 0.1


def test_means_of_batches_go():
    matrix, code = sp.random(20, 4, 0.5, format="csr", random_state=0), np.arange(20) % 3
    left = _without_batches(matrix, code)
    np.testing.assert_allclose([left[code == c].mean(0) for c in range(3)], 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(left[code == 1], axis=0), np.diff(matrix.toarray()[code == 1], axis=0))


def test_mean_shares_are_those_of_all_molecules():
    adata = clusters(shares=[0.5, 0.5, 0.5])
    expression, genes = read_expression(adata), np.arange(30)
    counts, total = adata.X.toarray(), adata.X.sum()
    odds = np.exp(_log_share(expression.sample(genes)[0].counts(), expression.size).numpy())
    np.testing.assert_allclose(odds / (1 + odds.sum()), counts[:, :30].sum(0) / total, rtol=1e-4)
