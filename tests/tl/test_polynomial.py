import anndata as ad
import numpy as np
import pytest

import scnode
from scnode.metrics import cosine

OPTIONS = {"velocity_key": "velocity", "n_latent": 8, "n_members": 2, "max_epochs": 30}


@pytest.fixture(scope="module")
def quadratic(counted):
    adata = counted.copy()
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(adata, field="polynomial", **OPTIONS)
    return adata


def aligned(adata):
    """Mean cosine with the truth where cells move."""
    truth = scnode.datasets.true_velocity(adata)
    speed = np.linalg.norm(truth, axis=1)
    return cosine(adata.obsm["velocity_scnode"], truth)[speed >= np.median(speed)].mean()


def test_velocities_come_near_those_of_the_default_kind(quadratic, counted):
    adata = counted.copy()
    scnode.tl.fit(adata, **OPTIONS)
    assert aligned(quadratic) > 0.55
    assert aligned(quadratic) > 0.9 * aligned(adata)


def test_trajectories_stay_within_reach(quadratic):
    scnode.tl.trajectories(quadratic, t=5.0, n_steps=10)
    paths = quadratic.uns["scnode"]["trajectories"]["latent"]
    field = scnode.get.model(quadratic).field
    assert np.isfinite(paths).all()
    assert np.linalg.norm(paths - field.center.numpy(), axis=-1).max() < 3 * field.reach


def test_every_tool_reads_the_model_back(quadratic, tmp_path):
    quadratic.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    assert again.uns["scnode"]["params"]["field"] == "polynomial"
    equations = [scnode.get.model(a).field.equations() for a in (quadratic, again)]
    assert equations[0] == equations[1]
    assert len(equations[0]) == 8
    for adata in (quadratic, again):
        scnode.tl.jacobian(adata)
        scnode.tl.perturb(adata, {adata.var_names[0]: 0.0}, name="ko", t=0.2, overwrite=True)
    np.testing.assert_array_equal(again.obs["scnode_divergence"], quadratic.obs["scnode_divergence"])


@pytest.mark.slow
def test_on_a_bifurcation_it_is_next_to_the_default_kind():
    adata = scnode.datasets.bifurcation(n_cells=800, rng=100)
    found = {}
    for kind in ("polynomial", "mlp"):
        scnode.tl.fit(adata, field=kind)
        found[kind] = aligned(adata)
        scnode.tl.trajectories(adata, t=2.0, n_steps=20)
        assert np.isfinite(adata.uns["scnode"]["trajectories"]["latent"]).all()
    assert found["polynomial"] > 0.75
    assert found["polynomial"] > 0.95 * found["mlp"]
