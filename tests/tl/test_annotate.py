import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

import scnode

pytest.importorskip("ot")
DAYS = np.tile([8.5, 9.0, 10.5, 12.0], 40)
KEYS = {"time_key": "stage", "lineage_key": "clone", "pseudotime_key": "along", "velocity_key": "velocity"}
FAST = {"n_latent": 3, "n_members": 2, "max_epochs": 4}
HELD = 10.5


def counted():
    """160 cells of four stages in 25 genes, with all evidence that there is."""
    rng = np.random.default_rng(0)
    slope = rng.normal(size=25)
    level = 20 * np.exp(0.4 * (DAYS[:, None] - 10) * slope)
    adata = ad.AnnData(rng.poisson(level).astype(np.float32))
    adata.obs_names = [f"c{i}" for i in range(160)]
    adata.obs["stage"] = [f"E{d:g}" for d in DAYS]
    adata.obs["clone"] = [f"clone {i // 4}" for i in range(160)]
    adata.obs["along"] = DAYS + rng.normal(0, 0.3, 160)
    adata.layers["Ms"] = level
    adata.layers["velocity"] = 0.4 * slope * level + rng.normal(0, 0.5, level.shape)
    return adata


def garbled(adata):
    """The same, with everything but the stage of the cells of `HELD` replaced."""
    rng, out, rows = np.random.default_rng(1), adata.copy(), DAYS == HELD
    out.X[rows] = rng.poisson(3, (rows.sum(), 25))
    for layer in ("Ms", "velocity"):
        out.layers[layer][rows] = rng.uniform(0, 90, (rows.sum(), 25))
    out.obs.loc[rows, "along"] = rng.uniform(-50, 50, rows.sum())
    out.obs.loc[rows, "clone"] = "another"
    return out


@pytest.fixture(scope="module", params=["days", "everything"])
def pair(request):
    """A fit with a time held out, and the same fit where its cells are garbage."""
    keys = KEYS if request.param == "everything" else {"time_key": "stage"}
    pair = counted(), garbled(counted())
    for adata in pair:
        scnode.tl.fit(adata, holdout=[HELD], **keys, **FAST)
    return pair


def leaves(tree, path=""):
    """Every array of a nested record, by its path."""
    for name, value in tree.items():
        yield from leaves(value, f"{path}/{name}") if isinstance(value, dict) else [(f"{path}/{name}", value)]


def test_nothing_of_the_cells_held_out_reaches_the_fit(pair):
    one, other = (adata.uns["scnode"] for adata in pair)
    mine, theirs = (dict(leaves(run["model"])) for run in (one, other))
    assert set(mine) == set(theirs)
    assert sum("weights" in name for name in mine) > 1
    for name, values in mine.items():
        np.testing.assert_array_equal(theirs[name], values, err_msg=name)
    pd.testing.assert_frame_equal(one["history"], other["history"], check_exact=True)
    assert one["report"]["share"] == other["report"]["share"]
    assert one["report"]["notes"] == other["report"]["notes"]


def test_components_that_have_seen_them_are_not_used_again():
    plain, stored, seen = counted(), counted(), DAYS != HELD
    logs = np.log1p(1e4 * stored.X / stored.X.sum(1, keepdims=True))
    loadings = np.linalg.svd(logs - logs.mean(0), full_matrices=False)[2][:3].T
    # They reproduce the expression of the other cells, and a fit to all cells would take them.
    stored.obsm["X_pca"], stored.varm["PCs"] = (logs - logs[seen].mean(0)) @ loadings, loadings
    for adata in (plain, stored):
        scnode.tl.fit(adata, time_key="stage", holdout=[HELD], **FAST)
    np.testing.assert_array_equal(stored.obsm["X_scnode"], plain.obsm["X_scnode"])
    assert not np.allclose(np.abs(stored.obsm["X_scnode"][seen]), np.abs(stored.obsm["X_pca"][seen]), atol=1e-3)


def test_results_of_the_other_cells_are_the_same_bits(pair):
    kept = DAYS != HELD
    one, other = (adata[kept] for adata in pair)
    for key in ("X_scnode", "velocity_scnode"):
        np.testing.assert_array_equal(other.obsm[key], one.obsm[key])
        assert (pair[0].obsm[key][~kept] != pair[1].obsm[key][~kept]).any(axis=1).all()
    written = [c for c in one.obs if c.startswith("scnode_")]
    assert {"scnode_time", "scnode_velocity_sd", "scnode_agreement_time"} <= set(written)
    pd.testing.assert_frame_equal(other.obs[written], one.obs[written], check_exact=True)
    for name, values in pair[0].uns["scnode"]["report"]["agreement"].items():
        np.testing.assert_array_equal(pair[1].uns["scnode"]["report"]["agreement"][name], values)
        assert np.isnan(values[~kept]).all()
        assert np.isfinite(values[kept]).all()


def test_cells_held_out_lie_where_the_encoder_puts_them(pair):
    for adata in pair:
        held = adata[DAYS == HELD]
        model = scnode.get.model(adata)
        counts = np.asarray(held.X)[:, [adata.var_names.get_loc(g) for g in model.genes]]
        logs = np.log1p(1e4 * counts / np.asarray(held.X).sum(1, keepdims=True))
        with torch.no_grad():
            latent = model.encoder.encode(torch.as_tensor(logs, dtype=torch.float32))
            velocity, sd = model.velocity(torch.as_tensor(held.obsm["X_scnode"]))
        np.testing.assert_allclose(held.obsm["X_scnode"], latent, atol=1e-4)
        np.testing.assert_allclose(held.obsm["velocity_scnode"], velocity, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(held.obs["scnode_velocity_sd"], sd, rtol=1e-4, atol=1e-6)


def test_the_clock_is_real_for_the_cells_held_out_too(pair):
    np.testing.assert_allclose(pair[0].obs["scnode_time"], (DAYS - 8.5) / 3.5)
    unit = pair[0].uns["scnode"]["report"]["time_unit"]
    assert {k: v for k, v in unit.items() if k != "kept"} == {
        "key": "stage",
        "unit": "day",
        "origin": 8.5,
        "span": 3.5,
    }
    np.testing.assert_array_equal(unit["kept"], [8.5, 9, 12])


def test_a_last_time_held_out_lies_beyond_the_clock():
    adata = counted()
    scnode.tl.fit(adata, time_key="stage", holdout=[12.0], **FAST)
    np.testing.assert_allclose(adata.obs["scnode_time"], (DAYS - 8.5) / 2)


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:Writing zarr")
def test_results_survive_a_file(pair, tmp_path, kind):
    write, read = {"h5ad": ("write_h5ad", ad.read_h5ad), "zarr": ("write_zarr", ad.read_zarr)}[kind]
    getattr(pair[0], write)(tmp_path / f"a.{kind}")
    again = read(tmp_path / f"a.{kind}")
    before, after = (a.uns["scnode"]["report"] for a in (pair[0], again))
    assert set(after) == set(before)
    assert after["share"] == before["share"]
    assert list(after["evidence"]) == before["evidence"]
    assert (after["time_unit"]["key"], after["time_unit"]["span"]) == ("stage", 3.5)
    np.testing.assert_array_equal(after["time_unit"]["kept"], before["time_unit"]["kept"])
    for name, values in before["agreement"].items():
        np.testing.assert_array_equal(after["agreement"][name], values)
    pd.testing.assert_frame_equal(scnode.get.agreement(again), scnode.get.agreement(pair[0]))
    assert list(np.atleast_1d(again.uns["scnode"]["params"]["holdout"])) == [HELD]
    for adata in (pair[0].copy(), again):
        scnode.tl.trajectories(adata, n_steps=4)
        stored = adata.uns["scnode"]["trajectories"]["latent"]
        assert np.isfinite(stored).all()
    np.testing.assert_array_equal(again.obsm["X_scnode"], pair[0].obsm["X_scnode"])
