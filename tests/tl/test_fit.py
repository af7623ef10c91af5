import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import torch

import scnode
from scnode import EvidenceError, ScnodeError
from scnode.metrics import cosine

FAST = {"n_latent": 3, "n_members": 2, "max_epochs": 3}


def test_velocity_follows_the_curve(fitted):
    latent, velocity = fitted.obsm["X_scnode"], fitted.obsm["velocity_scnode"]
    ahead = latent[40:] - latent[:-40]
    assert cosine(ahead, velocity[20:-20]).mean() > 0.98
    assert (fitted.obs["scnode_velocity_sd"] > 0).all()
    assert {"params", "history", "report", "model", "version"} <= set(fitted.uns["scnode"])


@pytest.mark.parametrize("convert", [sp.csr_matrix, sp.csc_matrix], ids=["csr", "csc"])
def test_storage_of_x_does_not_change_the_result(line, convert):
    dense, other = line.copy(), line.copy()
    other.X = convert(other.X)
    before = other.X.copy()
    for adata in (dense, other):
        scnode.tl.fit(adata, **FAST)
    np.testing.assert_array_equal(dense.obsm["velocity_scnode"], other.obsm["velocity_scnode"])
    assert (before != other.X).nnz == 0


def test_view_and_copy_leave_the_parent_alone(line):
    out = scnode.tl.fit(line[:150], copy=True, **FAST)
    assert "X_scnode" in out.obsm
    assert "X_scnode" not in line.obsm


def test_backed_input(line, tmp_path):
    line.write_h5ad(tmp_path / "line.h5ad")
    backed, memory = ad.read_h5ad(tmp_path / "line.h5ad", backed="r"), line.copy()
    scnode.tl.fit(backed, **FAST)
    scnode.tl.fit(memory, **FAST)
    np.testing.assert_array_equal(backed.obsm["velocity_scnode"], memory.obsm["velocity_scnode"])


def test_same_rng_same_result_and_global_seeds_untouched(line):
    runs = [line.copy(), line.copy()]
    np_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    for adata in runs:
        scnode.tl.fit(adata, rng=3, **FAST)
    np.testing.assert_array_equal(runs[0].obsm["velocity_scnode"], runs[1].obsm["velocity_scnode"])
    np.testing.assert_array_equal(np.random.get_state()[1], np_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_results_survive_a_file(fitted, tmp_path):
    fitted.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    for adata in (fitted.copy(), again):
        scnode.tl.trajectories(adata, n_steps=5)
        scnode.tl.velocity(adata, basis="umap", genes=True)
        np.testing.assert_array_equal(
            adata.uns["scnode"]["trajectories"]["latent"],
            scnode.tl.trajectories(fitted, n_steps=5, copy=True).uns["scnode"]["trajectories"]["latent"],
        )


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"pseudotime_key": "pseudotme"}, "Did you mean 'pseudotime'"),
        ({"velocity_key": "velo"}, "scnode.pp.velocity|velocity_key="),
        ({"n_latent": 50}, "Pass n_latent="),
        ({"n_latent": 300}, "below the 200 cells"),
        ({"use_rep": "X_pac"}, "use_rep="),
        ({"layer": "counts"}, "Pass layer="),
        ({"weights": {"velocity": 1.0}}, "evidence in use"),
        ({"weights": {"pseudotime": -1.0}}, "positive"),
        ({"field": "magic"}, "'mlp'"),
        ({"lr": 0.0}, "must be positive"),
        ({"time_key": "pseudotime"}, "pseudotime_key='pseudotime'"),
        ({"noise": 0.5}, "Pass True or False"),
        ({"batch_key": "b"}, "use_rep="),
    ],
)
def test_bad_options_name_the_mending_call_and_leave_adata(line, options, fix):
    adata = line.copy()
    with pytest.raises(ScnodeError, match=fix):
        scnode.tl.fit(adata, **options)
    assert set(adata.obsm) == set(line.obsm)
    assert list(adata.obs) == list(line.obs)
    assert "scnode" not in adata.uns


def broken(line, what):
    adata = line.copy()
    if what == "nan time":
        adata.obs.iloc[3, 0] = np.nan
    elif what == "constant time":
        adata.obs["pseudotime"] = 1.0
    elif what == "text time":
        adata.obs["pseudotime"] = "E15.5"
    elif what == "no evidence":
        del adata.obs["pseudotime"]
    elif what == "twins":
        adata.obs_names = ["a", "a", *adata.obs_names[2:]]
    elif what == "negative":
        adata.X = adata.X - 5
    elif what == "nan x":
        adata.X[0, 0] = np.nan
    elif what == "infinite time":
        adata.obs.iloc[[3, 5], 0] = np.inf
    elif what == "linear x":
        adata.X = np.exp(4 * adata.X)
    elif what == "log layers":
        del adata.obs["pseudotime"]
        adata.layers["spliced"] = adata.layers["unspliced"] = adata.X
    return adata


@pytest.mark.parametrize(
    ("what", "error", "fix"),
    [
        ("nan time", ScnodeError, "1 cells"),
        ("constant time", ScnodeError, "constant"),
        ("text time", ScnodeError, "not numeric"),
        ("no evidence", EvidenceError, "pseudotime_key="),
        ("twins", ScnodeError, "obs_names_make_unique"),
        ("negative", ScnodeError, "negative"),
        ("nan x", ScnodeError, "NaN"),
        ("infinite time", ScnodeError, "2 cells"),
        ("linear x", ScnodeError, "scanpy.pp.log1p"),
        ("log layers", ScnodeError, "needs counts"),
    ],
)
def test_bad_data_names_the_mending_call(line, what, error, fix):
    adata = broken(line, what)
    with pytest.raises(error, match=fix):
        scnode.tl.fit(adata)
    assert "scnode" not in adata.uns


def test_a_representation_with_more_columns_than_cells(line):
    few = line[:3].copy()
    few.obsm["wide"] = np.random.default_rng(0).normal(size=(3, 5))
    with pytest.raises(ScnodeError, match="n_latent=2 or less"):
        scnode.tl.fit(few, use_rep="wide")


def test_a_wrong_length_of_use_rep_is_told(line):
    adata = line.copy()
    adata.obsm["text"] = np.full((200, 2), np.nan)
    with pytest.raises(ScnodeError, match="not finite in 200 cells"):
        scnode.tl.fit(adata, use_rep="text")


def test_several_sources_are_mixed_and_their_agreement_is_kept_by_cell(line):
    adata = line.copy()
    scnode.tl.fit(adata, **FAST)
    adata.obsm["other"] = -adata.obsm["velocity_scnode"]
    scnode.tl.fit(adata, pseudotime_key="pseudotime", velocity_key="other", key_added="both", **FAST)
    report = adata.uns["both"]["report"]
    assert sum(report["share"].values()) == pytest.approx(1)
    assert np.median(report["agreement"]["pseudotime|velocity"]) < -0.9
    assert report["agreement"]["pseudotime|velocity"].shape == (200,)


def test_a_field_of_the_users_is_the_start_and_stays_as_it_was(line):
    line = line.copy()
    mine = scnode.nn.MLPField(3, hidden=(16,), n_members=3)
    before = [w.detach().clone() for w in mine.weights]
    scnode.tl.fit(line, field=mine, n_latent=3, max_epochs=2)
    stored = scnode.get.model(line).field
    assert (stored.n_members, stored.hidden) == (3, (16,))
    assert line.uns["scnode"]["params"]["field"] == "mlp"
    assert all(torch.equal(a, b) for a, b in zip(before, mine.weights, strict=True))


@pytest.mark.parametrize(
    ("field", "message"), [("mpl", "Did you mean 'mlp'"), (scnode.nn.MLPField(4), "has 4 dimensions and the latent")]
)
def test_a_field_that_does_not_fit_is_refused(line, field, message):
    with pytest.raises(ScnodeError, match=message):
        scnode.tl.fit(line, field=field, **FAST)


@pytest.fixture(scope="module")
def noisy(line):
    """Fits of the same cells without and with noise."""
    adata = line.copy()
    for noise, run in ((False, "still"), (True, "scnode")):
        scnode.tl.fit(adata, n_latent=3, n_members=2, max_epochs=20, noise=noise, key_added=run)
    return adata


def test_noise_leaves_the_drift_as_it_is_bit_for_bit(noisy):
    np.testing.assert_array_equal(noisy.obsm["velocity_scnode"], noisy.obsm["velocity_still"])
    assert scnode.get.model(noisy, key_added="still").diffusion is None
    assert "still_diffusion" not in noisy.obs
    assert "noise" not in noisy.uns["still"]["report"]


def test_noise_is_written_by_cell_and_reported(noisy, tmp_path):
    noisy.write_h5ad(tmp_path / "noisy.h5ad")
    again = ad.read_h5ad(tmp_path / "noisy.h5ad")
    states = torch.as_tensor(noisy.obsm["X_scnode"])
    for adata in (noisy, again):
        with torch.no_grad():
            g = scnode.get.model(adata).diffusion(torch.zeros(()), states).numpy()
        np.testing.assert_allclose(adata.obs["scnode_diffusion"], np.sqrt((g**2).mean(1)), rtol=1e-5)
        report = adata.uns["scnode"]["report"]["noise"]
        assert report["level"] == pytest.approx(adata.obs["scnode_diffusion"].mean())
        speed = (adata.obsm["velocity_scnode"] ** 2).sum(1)
        assert report["peclet"] == pytest.approx(np.median(speed / (g**2).sum(1)), rel=0.02)
        assert report["fitted_to"] == "walks"
    assert (noisy.uns["scnode"]["history"]["stage"] == "noise").sum() == 5


def test_a_later_fit_without_noise_takes_its_column_away(noisy):
    adata = noisy.copy()
    scnode.tl.fit(adata, n_members=2, n_latent=3, max_epochs=2)
    assert "scnode_diffusion" not in adata.obs
    scnode.tl.trajectories(adata, n_steps=2)


def test_along_a_line_of_cells_the_noise_is_small_against_the_drift(noisy):
    """The simulated curve has measurement noise of 0.02 and none of its own."""
    assert noisy.uns["scnode"]["report"]["noise"]["peclet"] > 20


def test_with_days_the_snapshots_train_drift_and_noise(line):
    adata = line.copy()
    adata.obs["day"] = np.digitize(adata.obs["pseudotime"], [0.33, 0.66]).astype(float)
    options = {"time_key": "day", "n_latent": 3, "n_members": 2, "max_epochs": 8}
    scnode.tl.fit(adata, key_added="still", **options)
    scnode.tl.fit(adata, noise=True, **options)
    assert adata.uns["scnode"]["report"]["noise"]["fitted_to"] == "walks and snapshots"
    assert not np.array_equal(adata.obsm["velocity_still"], adata.obsm["velocity_scnode"])
    again = scnode.tl.fit(adata, noise=True, copy=True, **options)
    np.testing.assert_array_equal(again.obsm["velocity_scnode"], adata.obsm["velocity_scnode"])
    np.testing.assert_array_equal(again.obs["scnode_diffusion"], adata.obs["scnode_diffusion"])
