import numpy as np
import pytest
import scipy.sparse as sp
import torch

from scnode.data import encode
from scnode.data._encode import _CHUNK, encode_velocity
from scnode.nn import PCA, VAE

N = _CHUNK + 7


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    return sp.csr_matrix(rng.poisson(1.0, (N, 5)).astype(np.float32)), rng.normal(size=(N, 5)), rng.integers(2, size=N)


def test_more_cells_than_a_chunk_are_encoded_in_order(cells):
    matrix, velocity, _ = cells
    w = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 2)))[0]
    pca = PCA(torch.ones(5, dtype=torch.float64), torch.from_numpy(w))
    np.testing.assert_allclose(encode(pca, matrix), (matrix.toarray() - 1) @ w, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(encode_velocity(pca, matrix.toarray(), velocity), velocity @ w, rtol=1e-12, atol=1e-12)


def test_every_cell_goes_with_its_own_batch(cells):
    matrix, velocity, batch = cells
    vae = VAE(5, 2, hidden=(3,), n_batches=2)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    vae = vae.double()
    x, v = torch.from_numpy(matrix.toarray()).double(), torch.from_numpy(velocity)
    z, w = encode(vae, matrix, batch=batch), encode_velocity(vae, matrix.toarray(), velocity, batch=batch)
    assert z.dtype == np.float64
    for b in range(2):
        code = torch.full((N,), b)
        with torch.no_grad():
            np.testing.assert_allclose(z[batch == b], vae.encode(x, code).numpy()[batch == b], rtol=1e-9)
            np.testing.assert_allclose(w[batch == b], vae.encode_velocity(x, v, code).numpy()[batch == b], rtol=1e-7)
