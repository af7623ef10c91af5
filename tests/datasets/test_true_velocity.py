import numpy as np
import pytest

import scnode
from scnode import ScnodeError
from scnode.datasets import bifurcation, true_velocity


def test_matches_the_finite_difference_of_the_encoder(line):
    adata = bifurcation(n_cells=80, n_genes=30, rng=1)
    scnode.tl.fit(adata, n_latent=5, n_members=1, max_epochs=1)
    model = scnode.get.model(adata)
    state, rate = (np.asarray(adata.layers[k], dtype=float) for k in ("true_spliced", "true_velocity"))

    def latent(s):
        return np.log1p(1e4 * s / s.sum(1, keepdims=True)) @ model.encoder.components.numpy().astype(float)

    difference = (latent(state + 1e-5 * rate) - latent(state - 1e-5 * rate)) / 2e-5
    np.testing.assert_allclose(true_velocity(adata), difference, rtol=1e-5, atol=1e-6)
    with pytest.raises(ScnodeError, match="of scnode"):
        true_velocity(line)
