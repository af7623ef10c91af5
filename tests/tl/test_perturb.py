import anndata as ad
import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control

import scnode
from scnode import ScnodeError, nn
from scnode.model import LatentODE


@pytest.fixture
def labelled(fitted):
    adata = fitted.copy()
    adata.obs["stage"] = np.where(adata.obs["pseudotime"] > 0.7, "late", "early")
    return adata


@pytest.mark.parametrize("mode", ["hold", "initial"])
def test_only_hold_keeps_the_level(fitted, mode):
    out = scnode.tl.perturb(fitted, {"g2": 0.5}, mode=mode, name="x", copy=True)
    ends = out.uns["scnode"]["perturbations"]["x"]["perturbed"]
    decoded = scnode.get.model(out).encoder.decode(torch.from_numpy(ends))[..., 2].numpy()
    assert np.allclose(decoded, 0.5, atol=1e-4) == (mode == "hold")


def test_holding_a_gene_where_it_stays_anyway_changes_little(fitted):
    adata = fitted.copy()
    adata.X = adata.X.copy()
    start = [adata.obs_names[50]]
    scnode.tl.perturb(adata, {"g11": 0.0}, start=start, t=1e-6, mode="initial", name="moved")
    moved = adata.obs["scnode_moved_shift"].dropna()
    assert list(moved.index) == start
    level = scnode.get.model(adata).encoder.decode(torch.from_numpy(adata.obsm["X_scnode"][50]))[11]
    scnode.tl.perturb(adata, {"g11": float(level)}, start=start, t=1e-6, name="kept")
    assert adata.obs["scnode_kept_shift"].dropna().iloc[0] < 1e-3 < moved.iloc[0]


def test_table_of_fates(labelled, tmp_path):
    scnode.tl.perturb(labelled, {"g2": 0.0, "g5": 1.0}, groupby="stage", name="a")
    table = scnode.get.perturbation(labelled, "a")
    columns = ["fate", "control", "perturbed", "log_fold_change", "ci_low", "ci_high", "pvalue", "qvalue", "ood"]
    assert list(table.columns) == columns
    np.testing.assert_allclose(table[["control", "perturbed"]].sum(), 1)
    assert (table["ci_low"] <= table["log_fold_change"] + 1e-9).all()
    assert (table["log_fold_change"] <= table["ci_high"] + 1e-9).all()
    assert table["qvalue"].between(0, 1).all()
    labelled.write_h5ad(tmp_path / "a.h5ad")
    assert scnode.get.perturbation(ad.read_h5ad(tmp_path / "a.h5ad"), "a").equals(table)


def test_an_arm_against_itself_is_not_significant(labelled):
    from scnode.tl._outcomes import outcome_table

    latent, late = labelled.obsm["X_scnode"].astype(float), labelled.obs["stage"].to_numpy(dtype=str)
    arm = np.repeat(latent[:100, None], 3, axis=1)
    table = outcome_table(latent, late, arm, arm)
    np.testing.assert_array_equal(table["log_fold_change"], 0)
    assert (table["qvalue"] == 1).all()
    assert table["ood"].max() < 0.05
    far = outcome_table(latent, late, arm, arm + 100)
    assert far["ood"].max() == 1


@pytest.mark.parametrize(
    ("genes", "options", "fix"),
    [
        ({"G2": 0.0}, {}, "Did you mean 'g2'"),
        ({"g2": -1.0}, {}, "at least 0"),
        ({"g2": float("nan")}, {}, "at least 0"),
        ({"g2": "low"}, {}, "Pass 0.0 for a knock-out"),
        ({}, {}, "names no gene"),
        ({"g0": 0.0, "g1": 0.0, "g2": 0.0, "g3": 0.0}, {}, "n_latent="),
        ({"g2": 0.0}, {"mode": "push"}, "'hold' or 'initial'"),
        ({"g2": 0.0}, {"t": -1}, "positive"),
        ({"g2": 0.0}, {"groupby": "stages"}, "Did you mean 'stage'"),
        ({"g2": 0.0}, {"groupby": "stage", "groups": ["lat"]}, "Did you mean 'late'"),
        ({"g2": 0.0}, {"start": ["nobody"]}, "obs_names"),
        ({"g2": 0.0}, {"name": "a/b"}, "another name="),
        ({"g2": 0.0}, {"n_null": -1}, "n_null=-1 not negative"),
        ({"g2": 0.0}, {"noise": True}, "tl.fit\\(noise=True\\)"),
        ({"g2": 0.0}, {"start": np.zeros(200, dtype=bool)}, "selects no cell"),
        ({"g2": ([0.0, 0.5], [1.0, 0.0])}, {"mode": "initial"}, "moves the start alone"),
        ({"g2": ([0.0, 1.5], [1.0, 0.0])}, {}, "names the time 1.5, and the flow goes from 0 to 1"),
    ],
)
def test_bad_requests_leave_adata(labelled, genes, options, fix):
    before = set(labelled.obsm), set(labelled.obs)
    with pytest.raises(ScnodeError, match=fix):
        scnode.tl.perturb(labelled, genes, **options)
    assert (set(labelled.obsm), set(labelled.obs)) == before


def test_a_name_is_used_once(labelled):
    scnode.tl.perturb(labelled, {"g2": 0.0})
    with pytest.raises(ScnodeError, match="overwrite=True"):
        scnode.tl.perturb(labelled, {"g2": 0.0})
    scnode.tl.perturb(labelled, {"g2": 0.0}, overwrite=True)
    with pytest.raises(ScnodeError, match="groupby="):
        scnode.get.perturbation(labelled, "g2_0")
    with pytest.raises(ScnodeError, match="Did you mean 'g2_0'"):
        scnode.get.perturbation(labelled, "g2")


def test_ends_are_doubted_by_the_calibration(labelled):
    start = list(labelled.obs_names[100:110])
    decoded = scnode.get.model(labelled).encoder.decode(torch.from_numpy(labelled.obsm["X_scnode"][100:110]))
    own, options = {"g2": float(decoded[:, 2].mean())}, {"groupby": "stage", "start": start, "t": 0.1, "name": "own"}
    before = scnode.tl.perturb(labelled, own, **options, copy=True)
    assert "ood" not in before.uns["scnode"]["perturbations"]["own"]
    scnode.tl.ood(labelled)
    scnode.tl.perturb(labelled, own, **options)
    scnode.tl.perturb(labelled, {"g2": 9.0}, **{**options, "name": "far"})
    near, far = (labelled.uns["scnode"]["perturbations"][name]["ood"] for name in ("own", "far"))
    assert near.shape == labelled.uns["scnode"]["perturbations"]["own"]["perturbed"].shape[:2]
    assert far.mean() > 0.9
    assert near.mean() < 0.6
    table = scnode.get.perturbation(labelled, "own")
    shares = table["perturbed"] / table["perturbed"].sum()
    assert (table["ood"] * shares).sum() == pytest.approx(near.mean(), abs=1e-5)


def record_of(adata, name):
    return adata.uns["scnode"]["perturbations"][name]


def decoded(adata, name, arm="perturbed", gene=2):
    """Expression of a gene along the kept paths, (start, member, step)."""
    paths = torch.from_numpy(np.asarray(record_of(adata, name)[f"path_{arm}"]))
    return scnode.get.model(adata).decoder.decode(paths)[..., gene].numpy()


START = {"start": [f"c{i}" for i in range(0, 40, 4)]}


def test_a_pulse_holds_and_then_lets_go(labelled):
    scnode.tl.perturb(labelled, {"g2": ([0.0, 0.5], [0.4, None])}, **START)
    record = record_of(labelled, "g2_schedule")
    found, t = decoded(labelled, "g2_schedule"), record["path_t"]
    np.testing.assert_allclose(found[..., t < 0.5], 0.4, atol=1e-4)
    assert np.abs(found[..., t > 0.6] - 0.4).min() > 1e-3
    scnode.tl.perturb(labelled, {"g2": 0.4}, t=0.5, name="first", **START)
    ends = torch.from_numpy(record_of(labelled, "first")["perturbed"])
    at = int(np.flatnonzero(np.isclose(t, 0.5))[0])
    np.testing.assert_allclose(record["path_perturbed"][:, :, at], ends, atol=2e-3)
    schedule = record["schedule"]
    assert schedule["t"].max() == 0.5
    assert (schedule["level"] == 0.4).all()


def test_what_starts_late_changes_nothing_before(labelled):
    scnode.tl.perturb(labelled, {"g2": ([0.5], [2.0])}, name="late", **START)
    record = record_of(labelled, "late")
    before = record["path_t"] < 0.5
    np.testing.assert_allclose(record["path_perturbed"][:, :, before], record["path_control"][:, :, before], atol=2e-3)
    np.testing.assert_allclose(decoded(labelled, "late")[..., ~before], 2.0, atol=1e-4)
    assert np.isnan(record["levels"]).all()
    gone = labelled.obs["scnode_late_departure"].dropna()
    assert (gone[np.isfinite(gone)] > 0.4).all()


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (lambda t: 1 + 0.5 * torch.sin(4 * t), lambda t: 1 + 0.5 * np.sin(4 * t)),
        (lambda t: 1.2 * np.exp(-float(t)), lambda t: 1.2 * np.exp(-t)),
        (([0.0, 0.5, 1.0], [0.5, 1.5, 1.0], "linear"), lambda t: np.interp(t, [0, 0.5, 1], [0.5, 1.5, 1.0])),
        (nn.Schedule([0.0, 0.4], [[0.5], [1.5]]), lambda t: np.where(t < 0.4, 0.5, 1.5)),
    ],
)
def test_the_state_follows_a_moving_level(labelled, level, expected):
    scnode.tl.perturb(labelled, {"g2": level}, name="x", **START)
    found, t = decoded(labelled, "x"), record_of(labelled, "x")["path_t"]
    np.testing.assert_allclose(found, np.broadcast_to(expected(t), found.shape), atol=3e-4)


def test_two_genes_on_schedules_of_their_own(labelled):
    genes = {"g2": ([0.0, 0.5], [0.5, None]), "g7": ([0.25], [1.2])}
    scnode.tl.perturb(labelled, genes, name="x", **START)
    t = record_of(labelled, "x")["path_t"]
    np.testing.assert_allclose(decoded(labelled, "x", gene=2)[..., t < 0.5], 0.5, atol=1e-4)
    np.testing.assert_allclose(decoded(labelled, "x", gene=7)[..., t >= 0.25], 1.2, atol=1e-4)


def test_the_null_is_what_holding_each_of_its_genes_does(labelled):
    """One solve for all of them, against a perturbation of each."""
    options = {"groupby": "stage", "n_null": 4, **START}
    scnode.tl.perturb(labelled, {"g2": 0.5}, name="x", **options)
    record = record_of(labelled, "x")
    assert record["null"].shape == (4, 2)
    for (gene,), found in zip(record["null_genes"], record["null"], strict=True):
        scnode.tl.perturb(labelled, {gene: 0.5}, name="one", overwrite=True, **(options | {"n_null": 0}))
        table = scnode.get.perturbation(labelled, "one")
        np.testing.assert_allclose(found, table["log_fold_change"], atol=0.05)
    table = scnode.get.perturbation(labelled, "x")
    larger = (np.abs(record["null"]) >= np.abs(table["log_fold_change"].to_numpy()) - 1e-9).sum(0)
    np.testing.assert_allclose(table["pvalue"], (1 + larger) / 5)
    np.testing.assert_allclose(table["qvalue"], false_discovery_control(table["pvalue"]))


def test_every_random_number_comes_from_rng(labelled):
    genes = {"g2": 0.5, "g7": 0.5}
    first, again, other = (
        record_of(scnode.tl.perturb(labelled, genes, groupby="stage", name="x", rng=rng, copy=True, **START), "x")
        for rng in (0, 0, 1)
    )
    assert (first["null_genes"] == again["null_genes"]).all()
    np.testing.assert_array_equal(first["null"], again["null"])
    assert (first["null_genes"] != other["null_genes"]).any()
    assert all(len({*draw, *genes}) == 4 for draw in first["null_genes"].tolist())


def test_cells_know_how_far_where_and_when(labelled):
    scnode.tl.perturb(labelled, {"g2": 0.3}, name="x", **START)
    record, rows = record_of(labelled, "x"), labelled.obs_names.get_indexer(START["start"])
    shift = (record["perturbed"] - record["control"]).mean(1)
    np.testing.assert_allclose(labelled.obsm["scnode_x_shift"][rows], shift)
    np.testing.assert_allclose(labelled.obs["scnode_x_shift"].iloc[rows], np.linalg.norm(shift, axis=1), rtol=1e-5)
    gone = labelled.obs["scnode_x_departure"].to_numpy()
    assert np.isnan(np.delete(gone, rows)).all()
    assert (gone[rows] > 0).all()
    # The field's difference is that of the held field, by its definition.
    model, z = scnode.get.model(labelled), torch.from_numpy(labelled.obsm["X_scnode"])
    row = model.decoder.components[2]
    across = torch.from_numpy(np.cov(z.numpy().astype(float), rowvar=False)).float() @ row
    across = across / (row @ across)
    there = z - (z @ row + model.decoder.mean[2] - 0.3)[:, None] * across
    moved, plain = (model.velocity(at)[0] for at in (there, z))
    expected = moved - (moved @ row)[:, None] * across - plain
    np.testing.assert_allclose(labelled.obsm["velocity_scnode_x_difference"], expected.detach(), atol=1e-4)


def test_departure_is_when_the_members_no_longer_explain_the_difference():
    from scnode.tl._experiment import departure

    ts, member = np.linspace(0, 1, 11), np.array([-1.0, 1.0])[None, :, None, None]
    control = np.broadcast_to(0.1 * member, (3, 2, 11, 1))
    far = control + np.array([1.0, 0.05, 1.0])[:, None, None, None] * ts[:, None]
    # The third is moved at the start, and stays so.
    far[2] = control[2] + 1.0
    np.testing.assert_allclose(departure(ts, control, far), [0.1, np.inf, np.inf])


def test_response_of_genes_over_time(labelled, tmp_path):
    scnode.tl.perturb(labelled, {"g2": 0.3}, name="x", **START)
    labelled.write_h5ad(tmp_path / "a.h5ad")
    labelled.write_zarr(tmp_path / "a.zarr")
    table = scnode.get.response(labelled, "x")
    assert list(table.columns) == ["gene", "t", "control", "perturbed", "difference", "sd"]
    assert table["gene"].nunique() == 12
    for again in (ad.read_h5ad(tmp_path / "a.h5ad"), ad.read_zarr(tmp_path / "a.zarr")):
        assert scnode.get.response(again, "x").equals(table)
    one = scnode.get.response(labelled, "x", genes=["g5"])
    for arm in ("control", "perturbed"):
        np.testing.assert_allclose(one[arm], decoded(labelled, "x", arm, gene=5).mean((0, 1)), rtol=1e-4)
    difference = decoded(labelled, "x", gene=5) - decoded(labelled, "x", "control", gene=5)
    np.testing.assert_allclose(one["sd"], difference.mean(0).std(0), atol=1e-4)
    np.testing.assert_allclose(scnode.get.response(labelled, "x", genes=["g2"])["perturbed"], 0.3, atol=1e-4)
    with pytest.raises(ScnodeError, match="Did you mean 'g5'"):
        scnode.get.response(labelled, "x", genes=["G5"])
    with pytest.raises(ScnodeError, match="genes=\\['g5'\\]"):
        scnode.get.response(labelled, "x", genes="g5")


@pytest.fixture(scope="module")
def narrow(line):
    """Cells of 14 genes whose model knows ten: two more follow the curve, one is noise and one constant."""
    few = line[:, :10].copy()
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(few, n_latent=3, n_members=2, max_epochs=20)
    noise = np.random.default_rng(0).uniform(size=200)
    x = np.column_stack([line.X, noise, np.full(200, 1.5)]).astype(np.float32)
    adata = ad.AnnData(x, obs=few.obs, obsm=dict(few.obsm), uns=few.uns)
    adata.var_names = [*line.var_names, "noise", "constant"]
    return adata


def test_a_gene_outside_the_model_is_held_by_its_regression(narrow):
    adata = narrow.copy()
    scnode.tl.perturb(adata, {"g11": 1.2, "g3": 1.1}, name="x")
    record = record_of(adata, "x")
    assert record["explained_variance"].keys() == {"g11"}
    assert 0.8 < record["explained_variance"]["g11"] < 1
    fit = np.linalg.lstsq(np.column_stack([adata.obsm["X_scnode"], np.ones(200)]), adata[:, "g11"].X[:, 0], rcond=None)[
        0
    ]
    np.testing.assert_allclose(record["path_perturbed"] @ fit[:3] + fit[3], 1.2, atol=5e-3)
    np.testing.assert_allclose(decoded(adata, "x", gene=3), 1.1, atol=1e-3)


@pytest.mark.parametrize(
    ("gene", "fix"),
    [
        ("noise", "explains .* of its variance in cells left out, below 5%"),
        ("constant", "constant in the data"),
        ("g_11", "nor in adata.var_names. Did you mean 'g11'"),
    ],
)
def test_a_gene_that_nothing_is_known_of(narrow, gene, fix):
    with pytest.raises(ScnodeError, match=fix):
        scnode.tl.perturb(narrow, {gene: 0.0})
    assert "perturbations" not in narrow.uns["scnode"]


def test_a_level_far_above_the_cells_is_answered_and_doubted(labelled):
    scnode.tl.perturb(labelled, {"g2": 30.0}, groupby="stage", name="x", n_null=0, **START)
    assert scnode.get.perturbation(labelled, "x")["ood"].max() == 1


def test_both_arms_are_shaken_alike(labelled):
    model = scnode.get.model(labelled)
    shaken = LatentODE(model.field, encoder=model.encoder, genes=np.array(model.genes), diffusion=nn.Diffusion(3))
    shaken.diffusion.level.fill_(0.1)
    labelled.uns["scnode"] = {**labelled.uns["scnode"], "model": shaken.to_arrays()}
    late = {"g2": ([0.5], [1.0])}
    scnode.tl.perturb(labelled, late, groupby="stage", name="x", **START)
    scnode.tl.perturb(labelled, late, name="calm", noise=False, **START)
    record, calm = record_of(labelled, "x"), record_of(labelled, "calm")
    before = record["path_t"] < 0.5
    # Steps end at the break in one arm and not in the other, so the paths agree to their error alone.
    np.testing.assert_allclose(record["path_perturbed"][:, :, before], record["path_control"][:, :, before], atol=0.02)
    assert np.abs(record["path_control"] - calm["path_control"]).max() > 0.1
    np.testing.assert_allclose(decoded(labelled, "x")[..., ~before], 1.0, atol=1e-4)
    assert scnode.get.perturbation(labelled, "x")["pvalue"].between(0, 1).all()
