import numpy as np
import pytest

import scnode
from scnode import ScnodeError


def test_states_come_back_with_decoded_genes(fitted):
    adata = scnode.tl.trajectories(fitted, start=list(fitted.obs_names[:3]), n_steps=4, n_samples=2, copy=True)
    out = scnode.get.trajectories(adata)
    stored = adata.uns["scnode"]["trajectories"]
    assert out.shape == (3 * 2 * 4, fitted.n_vars)
    assert out.obs["start"].unique().tolist() == fitted.obs_names[:3].tolist()
    np.testing.assert_array_equal(out.obsm["X_scnode"].reshape(stored["latent"].shape), stored["latent"])
    np.testing.assert_allclose(out.obs["t"].to_numpy()[:4], stored["t"])
    encoder = scnode.get.model(adata).encoder
    expected = out.obsm["X_scnode"] @ encoder.components.numpy().T + encoder.mean.numpy()
    np.testing.assert_allclose(out.X, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ScnodeError, match="Run scnode"):
        scnode.get.trajectories(fitted)


def test_rows_are_named_and_in_order(fitted):
    adata = scnode.tl.trajectories(fitted, start=list(fitted.obs_names[[7, 2]]), n_steps=3, n_samples=2, copy=True)
    obs = scnode.get.trajectories(adata).obs
    assert list(obs) == ["start", "sample", "step", "t"]
    assert obs.index.is_unique
    assert obs["start"].tolist() == ["c7"] * 6 + ["c2"] * 6
    assert obs["sample"].tolist() == [0, 0, 0, 1, 1, 1] * 2
    assert obs["step"].tolist() == [0, 1, 2] * 4
    np.testing.assert_allclose(obs["t"], [0, 0.5, 1] * 4)


def test_paths_begin_at_their_cells(fitted):
    adata = scnode.tl.trajectories(fitted, n_steps=2, copy=True)
    begins = (out := scnode.get.trajectories(adata))[out.obs["step"] == 0]
    np.testing.assert_array_equal(begins.obsm["X_scnode"], fitted[begins.obs["start"]].obsm["X_scnode"])


def test_without_a_decoder_there_are_no_genes(line, tmp_path):
    adata = scnode.tl.fit(line, use_rep="X_umap", n_members=2, max_epochs=2, copy=True)
    scnode.tl.trajectories(adata, n_steps=2)
    out = scnode.get.trajectories(adata)
    assert out.shape == (20 * 2, 0)
    assert out.obsm["X_scnode"].shape == (40, 2)
    out.write_h5ad(tmp_path / "paths.h5ad")


def test_many_samples_come_back_for_the_genes_asked(fitted, monkeypatch):
    adata = scnode.tl.trajectories(fitted, n_steps=4, n_samples=3, copy=True)
    every = scnode.get.trajectories(adata)
    monkeypatch.setattr("scnode.get._trajectories._ROWS", 7)
    some = scnode.get.trajectories(adata, genes=["g4", "g1"])
    assert some.var_names.tolist() == ["g4", "g1"]
    np.testing.assert_allclose(some.X, every[:, ["g4", "g1"]].X, rtol=1e-5)
    with pytest.raises(ScnodeError, match="'g99'"):
        scnode.get.trajectories(adata, genes=["g99"])
    monkeypatch.setattr("scnode.get._trajectories._BYTES", 4 * len(some) * 3)
    assert scnode.get.trajectories(adata, genes=["g0"]).n_vars == 1
    with pytest.raises(ScnodeError, match="Pass genes=, or fewer"):
        scnode.get.trajectories(adata)
