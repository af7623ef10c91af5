import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import torch

import scnode
from scnode import ScnodeError
from scnode.data import Neighbors


@pytest.fixture
def new(counted):
    """Forty cells that no fit has seen."""
    return counted[200:].copy()


def test_unseen_cells_land_where_the_encoder_puts_them(new, of_kind, kind):
    scnode.tl.map(new, of_kind)
    model = scnode.get.model(of_kind).double()
    if kind == "linear":
        expected = torch.as_tensor(new.obsm["X_given"]).double()
    else:
        counts = new.X.toarray().astype(float)
        x = torch.as_tensor(np.log1p(1e4 * counts / counts.sum(1, keepdims=True)))
        lane = torch.as_tensor((new.obs["lane"] == "two").to_numpy().astype(int)) if kind == "vae" else None
        expected = model.encoder.encode(x, lane).detach()
    np.testing.assert_allclose(new.obsm["X_scnode"], expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        velocity, sd = model.velocity(torch.as_tensor(new.obsm["X_scnode"]).double())
    np.testing.assert_allclose(new.obsm["velocity_scnode"], velocity, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(new.obs["scnode_velocity_sd"], sd, rtol=1e-3)
    assert new.obsm["X_scnode"].dtype == of_kind.obsm["X_scnode"].dtype


def test_cells_of_the_fit_come_back_to_their_places(counted, of_kind):
    again = scnode.tl.map(counted[:200].copy(), of_kind, copy=True)
    scale = np.abs(of_kind.obsm["X_scnode"]).max()
    np.testing.assert_allclose(again.obsm["X_scnode"], of_kind.obsm["X_scnode"], atol=1e-6 * scale)
    np.testing.assert_allclose(
        again.obsm["velocity_scnode"],
        of_kind.obsm["velocity_scnode"],
        atol=1e-4 * np.abs(of_kind.obsm["velocity_scnode"]).max(),
    )
    # Places are equal to rounding, so the nearest fifteen are the cell itself and fourteen around it.
    near = Neighbors.of(of_kind.obsm["X_scnode"].astype(float), k=15).index
    np.testing.assert_allclose(again.obs["scnode_time"], of_kind.obs["scnode_time"].to_numpy()[near].mean(1), atol=1e-6)
    assert again.obs["scnode_outside"].mean() <= 0.02


def test_genes_are_matched_by_name(new, of_kind):
    shuffled = new[:, np.random.default_rng(0).permutation(new.n_vars)].copy()
    for adata in (new, shuffled):
        scnode.tl.map(adata, of_kind)
    for key in ("X_scnode", "velocity_scnode"):
        np.testing.assert_array_equal(shuffled.obsm[key], new.obsm[key])
    np.testing.assert_array_equal(shuffled.obs["scnode_time"], new.obs["scnode_time"])


@pytest.mark.parametrize("convert", [sp.csc_matrix, lambda x: x.toarray()], ids=["csc", "dense"])
def test_storage_does_not_matter_and_x_is_left_alone(new, every_kind, convert):
    other = new.copy()
    other.X = convert(new.X)
    before = other.X.copy()
    for adata in (new, other):
        scnode.tl.map(adata, every_kind["pca"])
    np.testing.assert_array_equal(other.obsm["X_scnode"], new.obsm["X_scnode"])
    assert (before != other.X).sum() == 0


def test_the_tools_go_on_from_mapped_cells(new, of_kind, tmp_path):
    scnode.tl.map(new, of_kind)
    new.write_h5ad(tmp_path / "new.h5ad")
    for adata in (new, again := ad.read_h5ad(tmp_path / "new.h5ad")):
        scnode.tl.trajectories(adata, n_steps=3)
        scnode.tl.velocity(adata, genes=True)
        scnode.tl.transition_matrix(adata, n_neighbors=10)
        scnode.tl.jacobian(adata)
    np.testing.assert_array_equal(again.layers["velocity_scnode"], new.layers["velocity_scnode"])
    np.testing.assert_array_equal(scnode.get.trajectories(again).X, scnode.get.trajectories(new).X)
    np.testing.assert_allclose(new.obsp["T_fwd"].sum(1), 1)
    assert len(new.uns["scnode"]["trajectories"]["start"]) == 4


def test_a_bare_model_gives_no_time(new, every_kind):
    scnode.tl.map(new, scnode.get.model(every_kind["pca"]))
    assert "X_scnode" in new.obsm
    assert not {"scnode_time", "scnode_outside"} & set(new.obs)
    with pytest.raises(ScnodeError, match="Pass start="):
        scnode.tl.trajectories(new)
    scnode.tl.trajectories(new, start=list(new.obs_names[:2]))


def test_the_clock_of_unseen_cells_follows_their_true_time(new, every_kind):
    scnode.tl.map(new, every_kind["vae"])
    order = new.obs[["scnode_time", "true_time"]].corr(method="spearman").iloc[0, 1]
    known = every_kind["vae"].obs[["scnode_time", "true_time"]].corr(method="spearman").iloc[0, 1]
    assert order > known - 0.15
    assert order > 0.6


def test_missing_genes_take_their_mean(new, every_kind, caplog):
    fitted = every_kind["pca"]
    fewer = new[:, 5:].copy()
    fewer.obs["extra"] = 1
    scnode.tl.map(fewer, fitted)
    assert "5 of the model's 40 genes are missing" in caplog.text
    assert fewer.uns["scnode"]["report"] == {"genes": 40, "missing_genes": 5}
    encoder = scnode.get.model(fitted).encoder
    counts = fewer.X.toarray()
    x = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))
    filled = np.concatenate([np.tile(encoder.mean[:5].numpy(), (40, 1)), x], axis=1)
    np.testing.assert_allclose(fewer.obsm["X_scnode"], encoder.encode(torch.as_tensor(filled)), rtol=1e-4, atol=1e-4)


def test_cells_far_from_the_fit_are_marked(new, every_kind):
    new.X = np.random.default_rng(0).poisson(20.0, new.shape).astype(np.float32)
    scnode.tl.map(new, every_kind["pca"])
    assert new.obs["scnode_outside"].all()


def test_one_cell_and_a_copy(new, every_kind):
    out = scnode.tl.map(new[:1], every_kind["vae"], copy=True)
    whole = scnode.tl.map(new, every_kind["vae"], copy=True)
    np.testing.assert_allclose(out.obsm["X_scnode"], whole.obsm["X_scnode"][:1], rtol=1e-5, atol=1e-6)
    assert "X_scnode" not in new.obsm


def spoil(new, what):
    if what == "genes":
        new.var_names = [f"ENS{i}" for i in range(new.n_vars)]
    elif what == "scale":
        new.X = np.log1p(new.X.toarray() / 7)
    elif what == "batch":
        new.obs["lane"] = "three"
    elif what == "no batch":
        del new.obs["lane"]
    elif what == "twins":
        new.obs_names = ["a", "a", *new.obs_names[2:]]
    elif what == "empty":
        return new[:0].copy()
    return new


@pytest.mark.parametrize(
    ("what", "fix"),
    [
        ("genes", "40 of the model's 40 genes.*Name genes as in the fit"),
        ("scale", "Pass layer= with raw counts"),
        ("batch", r"It knows \['one', 'two'\]"),
        ("no batch", "Pass batch_key="),
        ("twins", "obs_names_make_unique"),
        ("empty", "no cells"),
    ],
)
def test_cells_that_cannot_be_placed_are_told(new, every_kind, what, fix):
    adata = spoil(new, what)
    before = set(adata.obsm), set(adata.obs), set(adata.uns)
    with pytest.raises(ScnodeError, match=fix):
        scnode.tl.map(adata, every_kind["vae"])
    assert (set(adata.obsm), set(adata.obs), set(adata.uns)) == before


def test_counts_do_not_fit_a_model_of_normalised_values(new, counted):
    normalised = counted.copy()
    normalised.X = np.log1p(normalised.X.toarray() / 7)
    scnode.tl.fit(normalised, pseudotime_key="hours", n_latent=3, n_members=2, max_epochs=2)
    with pytest.raises(ScnodeError, match="Pass layer= with log-normalised values"):
        scnode.tl.map(new, normalised)


def test_a_representation_must_be_there(new, every_kind):
    new.obsm["X_given"] = new.obsm["X_given"][:, :2]
    with pytest.raises(ScnodeError, match="has 2 columns, and the model needs 4"):
        scnode.tl.map(new, every_kind["linear"])
    del new.obsm["X_given"]
    with pytest.raises(ScnodeError, match="not found"):
        scnode.tl.map(new, every_kind["linear"])
    with pytest.raises(ScnodeError, match="holds no fitted model"):
        scnode.tl.map(new, new.copy())
