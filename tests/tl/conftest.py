import anndata as ad
import numpy as np
import pandas as pd
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


def planar(velocity, states, groups):
    """Cells on a plane with their exact velocities, after a fit to them."""
    adata = ad.AnnData(
        np.zeros((len(states), 1), dtype=np.float32),
        obs=pd.DataFrame({"side": groups}, index=[f"c{i}" for i in range(len(states))]),
        obsm={"X_plane": states, "v": velocity},
    )
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(adata, use_rep="X_plane", velocity_key="v", n_members=1, max_epochs=100)
    return adata


@pytest.fixture(scope="session")
def double_well():
    """Rest at (-1, 0) and (1, 0), a saddle at (0, 0): dx/dt = x - x^3, dy/dt = -y."""
    states = np.random.default_rng(0).uniform((-1.6, -0.8), (1.6, 0.8), (1500, 2))
    x, y = states.T
    return planar(np.stack([x - x**3, -y], axis=1), states, np.where(x > 0, "right", "left"))


@pytest.fixture(scope="session")
def turning():
    """Cells around the unit circle, to which they go round: dr/dt = r (1 - r^2), dphi/dt = 2."""
    rng = np.random.default_rng(0)
    angle, r = rng.uniform(0, 2 * np.pi, 1500), rng.uniform(0.7, 1.3, 1500)
    x, y = r * np.cos(angle), r * np.sin(angle)
    velocity = np.stack([x * (1 - r**2) - 2 * y, y * (1 - r**2) + 2 * x], axis=1)
    return planar(velocity, np.stack([x, y], axis=1), np.where(y > 0, "up", "down"))


@pytest.fixture(scope="session")
def parting():
    """Cells of a double well whose genes are its two coordinates and mixtures of them."""
    rng = np.random.default_rng(3)
    time = rng.uniform(0, 1, 600)
    side = np.where(rng.random(600) < 0.5, 1.0, -1.0)
    x = side * np.clip(time - 0.3, 0, None) * 3 + rng.normal(0, 0.15, 600)
    states = np.stack([x, 4 * time, rng.normal(0, 0.3, 600)], axis=1)
    mixing = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.7, 0.3, 0], [-0.6, 0.2, 0.3], [0.2, -0.5, 0.4]])
    expression = (states @ mixing.T + 3).clip(0).astype(np.float32)
    adata = ad.AnnData(expression)
    adata.var_names = [f"g{i}" for i in range(6)]
    adata.obs["time"] = time
    adata.obs["end"] = np.where(time > 0.8, np.where(side > 0, "right", "left"), "young")
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(adata, pseudotime_key="time", n_latent=3, n_members=2, max_epochs=80)
    return adata
