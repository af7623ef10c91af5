import numpy as np
import pytest

import scnode

KINDS = {
    "pca": {},
    "autoencoder": {"encoder": "autoencoder"},
    "vae": {"encoder": "vae", "batch_key": "lane"},
    "vae-zinb": {"encoder": "vae-zinb"},
    "linear": {"use_rep": "X_given", "decoder": "linear"},
}
"""What makes `tl.fit` use each kind of encoder."""


@pytest.fixture(scope="session")
def counted():
    """240 cells of a bifurcation in two lanes, 40 genes, with RNA velocity and a representation of their own."""
    adata = scnode.datasets.bifurcation(n_cells=240, n_genes=40, rng=2)
    scnode.pp.velocity(adata)
    adata.obs["lane"] = np.where(np.arange(240) % 2, "one", "two")
    adata.obs["hours"] = adata.obs["true_time"].astype(float)
    log = np.log1p(adata.X.toarray())
    adata.obsm["X_given"] = np.linalg.svd(log - log.mean(0), full_matrices=False)[0][:, :4] * 10
    return adata


@pytest.fixture(scope="session")
def every_kind(counted):
    """The first 200 of these cells after a short fit with each kind of encoder."""
    fits = {}
    for kind, options in KINDS.items():
        fits[kind] = counted[:200].copy()
        with scnode.settings.override(verbosity=0):
            evidence = {"pseudotime_key": "hours"} if kind == "linear" else {"velocity_key": "velocity"}
            scnode.tl.fit(fits[kind], n_latent=4, n_members=2, max_epochs=12, **evidence, **options)
    return fits


@pytest.fixture(params=sorted(KINDS))
def kind(request):
    return request.param


@pytest.fixture
def of_kind(every_kind, kind):
    """Cells fitted with one kind of encoder."""
    return every_kind[kind].copy()
