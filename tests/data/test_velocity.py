import numpy as np
import pytest
import scipy.sparse as sp
import torch

from scnode import EvidenceError
from scnode.data import Expression, Neighbors
from scnode.data._velocity import latent_velocity, tangent_velocity
from scnode.nn import PCA


@pytest.fixture
def expressed():
    rng = np.random.default_rng(0)
    abundance, velocity = rng.gamma(2.0, 5.0, (50, 12)), rng.normal(0, 1, (50, 12))
    abundance *= 1e4 / abundance.sum(1, keepdims=True)
    logarithms = sp.csr_matrix(np.log1p(abundance))
    loadings = np.linalg.qr(rng.normal(size=(12, 4)))[0]
    genes = np.array([f"g{i}" for i in range(12)])
    pca = PCA(torch.zeros(12, dtype=torch.float64), torch.from_numpy(loadings))
    return abundance, velocity, Expression(logarithms, genes, "log1p_cp10k", abundance.sum(1)), pca


def test_chain_rule_matches_the_finite_difference_of_the_encoder(expressed):
    abundance, velocity, expression, pca = expressed

    def encode(s):
        return np.log1p(1e4 * s / s.sum(1, keepdims=True)) @ pca.components.numpy()

    expected = (encode(abundance + 1e-4 * velocity) - encode(abundance - 1e-4 * velocity)) / 2e-4
    # The abundance may come on any scale of its own.
    found, rate = latent_velocity(velocity / 7, abundance / 7, expression, pca, np.arange(12))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(rate @ pca.components.numpy(), found)


def test_genes_without_a_fit_are_left_out(expressed):
    abundance, velocity, expression, pca = expressed
    hidden = velocity.copy()
    hidden[:, 3] = np.nan
    projected, rate = latent_velocity(hidden, abundance, expression, pca, np.arange(12))
    assert np.isfinite(projected).all()
    assert np.flatnonzero((rate == 0).all(0)).tolist() == [3]
    with pytest.raises(EvidenceError, match=r"pp.velocity\(adata\)"):
        latent_velocity(np.full_like(velocity, np.nan), abundance, expression, pca, np.arange(12))


def test_velocity_along_the_cloud_is_kept_and_across_it_shrunk():
    rng = np.random.default_rng(0)
    along = rng.uniform(0, 10, 2000)
    latent = np.concatenate([along[:, None], rng.normal(0, 0.3, (2000, 15))], axis=1)
    velocity = np.concatenate([np.ones((2000, 2)), np.zeros((2000, 14))], axis=1) + rng.normal(0, 0.1, (2000, 16))
    kept, se = tangent_velocity(latent, velocity, Neighbors.of(latent, k=150))
    inside = (along > 1) & (along < 9)
    assert np.median(kept[inside, 0]) > 0.98
    assert np.median(kept[inside, 1]) < 0.9
    # Thirty neighbours with noise of 0.1 in sixteen dimensions have a mean of standard error 0.07.
    assert 0.01 < np.median(se) < 0.075
