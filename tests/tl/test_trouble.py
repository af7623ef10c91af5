"""Cells that are hard to fit: what they are is said, and they are fitted where they can be."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scnode
from scnode import ScnodeError

FAST = {"n_latent": 3, "n_members": 2, "max_epochs": 4}


def finite(adata):
    return all(np.isfinite(adata.obsm[k]).all() for k in ("X_scnode", "velocity_scnode"))


@pytest.mark.parametrize("encoder", ["pca", "autoencoder"])
def test_constant_and_empty_genes_make_no_difference_to_the_rest(line, encoder):
    adata = line.copy()
    adata.X[:, 3], adata.X[:, 7] = 1.0, 0.0
    scnode.tl.fit(adata, encoder=encoder, **FAST)
    assert finite(adata)
    if encoder == "pca":
        scnode.tl.jacobian(adata, regulators=["g3", "g1"], effectors=["g7", "g2"])
        values = scnode.get.jacobian(adata)
        silent = values["regulator"].eq("g3") | values["effector"].eq("g7")
        # Components are of single precision, and older ones of scikit-learn round more.
        np.testing.assert_allclose(values["mean"][silent], 0, atol=1e-4)
        assert (values["mean"][~silent].abs() > 1e-3).all()


def test_a_group_of_three_cells_has_fates_of_its_own(fitted):
    adata = fitted.copy()
    adata.obs["part"] = pd.Categorical(np.repeat(["start", "middle", "late", "rare"], [40, 130, 27, 3]))
    scnode.tl.fate(adata, groupby="part", groups=["late", "rare"])
    assert np.isfinite(adata.obsm["scnode_fate"]).all(axis=None)
    scnode.tl.perturb(adata, {"g1": 0.0}, start={"part": ["rare"]})
    assert set(scnode.get.perturbation(adata, "g1_0")["fate"]) == {"late", "rare"}
    assert np.isfinite(scnode.get.perturbation(adata, "g1_0").drop(columns="fate")).all(axis=None)


def test_a_batch_without_cells_and_one_of_three(counted):
    adata = counted[:60].copy()
    adata.obs["lane"] = pd.Categorical(np.repeat(["most", "few"], [57, 3]), categories=["most", "few", "none"])
    scnode.tl.fit(adata, velocity_key="velocity", encoder="vae", batch_key="lane", **FAST)
    assert finite(adata)


def test_trouble_is_a_line_of_the_report(line):
    adata = line.copy()
    scnode.tl.fit(adata, **(FAST | {"lr": 50.0, "max_epochs": 30}))
    notes = adata.uns["scnode"]["report"]["notes"]
    assert any("exploded" in note or "no finite gradient" in note for note in notes)
    assert finite(adata)


def test_cells_without_any_count_are_named(line):
    adata = line.copy()
    adata.X = sp.csr_matrix(np.random.default_rng(0).poisson(3.0, adata.shape).astype(np.float32))
    adata.X[5] = 0
    with pytest.raises(ScnodeError, match=r"1 cells of adata.X have no counts \(first: \['c5'\]\)"):
        scnode.tl.fit(adata, **FAST)
    assert "scnode" not in adata.uns
