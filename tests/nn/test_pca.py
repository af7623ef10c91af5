import torch

from scnode.nn import PCA


def test_decode_of_encode_is_exact_in_the_span():
    rng = torch.Generator().manual_seed(0)
    w, _ = torch.linalg.qr(torch.randn(6, 2, generator=rng, dtype=torch.float64))
    pca = PCA(torch.randn(6, generator=rng, dtype=torch.float64), w)
    z = torch.randn(10, 2, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(pca.encode(pca.decode(z)), z)
    torch.testing.assert_close(pca.encode_velocity(pca.decode(z), pca.decode_velocity(z, z)), z)
    torch.testing.assert_close(pca.decode(z + 1e-3 * z) - pca.decode(z), 1e-3 * pca.decode_velocity(z, z))
    assert pca.n_latent == 2
