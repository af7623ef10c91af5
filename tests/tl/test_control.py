import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

import scnode
from scnode import EvidenceError, ScnodeError, nn
from scnode.metrics import cosine

pytest.importorskip("ot")
N = 50
FAST = {"use_rep": "X_plane", "n_members": 2, "max_epochs": 60, "rng": 100}
DAYS = (0.0, 1.0, 2.0)


def arms(doses, *, days=DAYS, untreated=DAYS):
    """A cloud that moves by (1, dose) a day; at the first day all cells are untreated."""
    rng, parts = np.random.default_rng(100), []
    for dose in doses:
        for day in untreated if dose == 0 else days[1:]:
            cloud = rng.normal((day, dose * day), 0.2, (N, 2))
            parts.append((cloud, np.full(N, dose), np.full(N, day)))
    latent, dose, day = (np.concatenate(x) for x in zip(*parts, strict=True))
    obs = pd.DataFrame({"day": day, "dose": 4 * dose}, index=[f"c{i}" for i in range(len(day))])
    obs["drug"] = pd.Categorical(np.where(dose > 0, "yes", "no"), categories=["no", "yes"])
    adata = ad.AnnData(np.zeros((len(day), 1), np.float32), obs=obs, obsm={"X_plane": latent})
    adata.obsm["motion"] = np.stack([np.full(len(day), 2.0), 2 * dose], 1) + rng.normal(0, 0.1, latent.shape)
    return adata


@pytest.fixture(scope="module")
def known():
    return arms((0.0, 0.5, 1.0))


@pytest.fixture(scope="module")
def dosed(known):
    adata = known.copy()
    scnode.tl.fit(adata, time_key="day", control_key="dose", **FAST)
    return adata


def travelled(adata, control, **options):
    """Mean displacement of the cells of the first day in a unit of the clock."""
    start = (adata.obs["day"] == adata.obs["day"].min()).to_numpy()
    out = scnode.tl.trajectories(adata, start=start, control=control, n_steps=3, copy=True, **options)
    paths = out.uns["scnode"]["trajectories"]["latent"]
    return (paths[:, :, -1] - paths[:, :, 0]).mean((0, 1))


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        (None, [2, 0]),
        ({"dose": 4.0}, [2, 2]),
        ({"dose": 2.0}, [2, 1]),
        ({"dose": 3.0}, [2, 1.5]),
        ({"dose": ([0.0, 0.5], [4.0, 0.0])}, [2, 1]),
        ({"dose": ([0.0, 1.0], [0.0, 4.0], "linear")}, [2, 1]),
        ({"dose": lambda t: 4 * t}, [2, 1]),
    ],
    ids=["own", "highest", "seen", "unseen", "schedule", "ramp", "callable"],
)
def test_cells_go_where_their_dose_takes_them(dosed, control, expected):
    np.testing.assert_allclose(travelled(dosed, control), expected, atol=0.35)
    np.testing.assert_allclose(travelled(dosed, control, n_samples=2), expected, atol=0.35)


def test_each_cell_has_the_velocity_of_its_own_dose(dosed):
    truth = np.stack([np.full(dosed.n_obs, 2.0), dosed.obs["dose"] / 2], 1)
    assert cosine(dosed.obsm["velocity_scnode"], truth).mean() > 0.97
    report = dosed.uns["scnode"]["report"]
    assert report["control"] == {"names": ["dose"], "reference": {"dose": "0"}, "rest": False}
    assert dosed.uns["scnode"]["params"]["field"] == "controlled"
    assert report["notes"] == []


def test_a_file_brings_the_controlled_field_back(dosed, tmp_path):
    dosed.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(travelled(again, {"dose": 3.0}), travelled(dosed, {"dose": 3.0}))
    scnode.tl.fit(
        again,
        **{k: v for k, v in FAST.items() if k != "max_epochs"},
        max_epochs=1,
        control_key=["dose", "drug"],
        time_key="day",
    )
    again.write_h5ad(tmp_path / "b.h5ad")
    assert list(ad.read_h5ad(tmp_path / "b.h5ad").uns["scnode"]["params"]["control_key"]) == ["dose", "drug"]


def test_untreated_cells_of_one_time_are_at_rest():
    adata = arms((0.0, 1.0), days=(0.0, 2.0), untreated=(0.0,))
    scnode.tl.fit(adata, time_key="day", control_key="drug", **FAST)
    report = adata.uns["scnode"]["report"]
    assert report["control"] == {"names": ["drug=yes"], "reference": {"drug": "no"}, "rest": True}
    assert "taken to be at rest" in report["notes"][0]
    np.testing.assert_array_equal(travelled(adata, {"drug": "no"}), 0)
    np.testing.assert_allclose(travelled(adata, {"drug": "yes"}), [2, 2], atol=0.4)
    untreated = (adata.obs["drug"] == "no").to_numpy()
    assert not adata.obsm["velocity_scnode"][untreated].any()
    assert scnode.get.model(adata).field.rest


@pytest.mark.parametrize("evidence", [{"velocity_key": "motion"}, {"pseudotime_key": "day"}])
def test_other_evidence_is_of_each_cells_own_dose(known, evidence):
    adata = known.copy()
    if "velocity_key" in evidence:
        scnode.tl.fit(adata, control_key="dose", **evidence, **FAST)
        # Where all have been together: states of the first day under any dose.
        model = scnode.get.model(adata)
        states = torch.as_tensor(adata.obsm["X_scnode"][adata.obs["day"] == 1])
        up = [
            float(model.velocity(states, control=torch.tensor([u]))[0].detach()[:, 1].mean()) for u in (0.0, 0.5, 1.0)
        ]
        assert up == sorted(up)
        assert up[2] > 3 * abs(up[0])
    else:
        scnode.tl.fit(adata, control_key="dose", **evidence, **FAST)
        assert cosine(adata.obsm["velocity_scnode"], adata.obsm["motion"]).mean() > 0.8
    assert not adata.uns["scnode"]["report"]["control"]["rest"]


def test_tools_take_each_cells_own_input(dosed):
    adata = dosed.copy()
    model = scnode.get.model(adata)
    own = torch.as_tensor(adata.obs["dose"].to_numpy() / 4, dtype=torch.float32)[:, None]
    states = torch.as_tensor(adata.obsm["X_scnode"])
    scnode.tl.jacobian(adata)
    with torch.no_grad():
        trace = model.under(own).jacobian(torch.zeros(()), states).diagonal(dim1=1, dim2=2).sum(1)
    np.testing.assert_allclose(adata.obs["scnode_divergence"], trace, rtol=1e-4, atol=1e-5)
    adata.obs["end"] = np.where(adata.obs["day"] < 2, None, adata.obs["drug"].astype(str))
    scnode.tl.fate(adata, groupby="end", t=0.5)
    middle = (adata.obs["day"] == 1).to_numpy()
    share = adata.obsm["scnode_fate"]["yes"].to_numpy()
    assert share[middle & (adata.obs["dose"] == 4)].mean() > share[middle & (adata.obs["dose"] == 0)].mean() + 0.5
    scnode.tl.fate(adata, groupby="end")


def test_both_arms_of_a_knock_out_are_under_the_cells_own_dose():
    adata = scnode.datasets.dose_response(n_cells=120, n_genes=12, rng=100)
    scnode.tl.fit(adata, time_key="day", control_key="dose", n_latent=3, n_members=2, max_epochs=3)
    start = (adata.obs["day"] > 0.5).to_numpy()
    scnode.tl.trajectories(adata, start=start, n_samples=2, n_steps=2)
    scnode.tl.perturb(adata, {"Drug_TF1": 0.0}, start=start, name="out")
    record = adata.uns["scnode"]["perturbations"]["out"]
    expected = adata.uns["scnode"]["trajectories"]["latent"][:, :, -1]
    np.testing.assert_allclose(record["control"], expected, rtol=1e-3, atol=1e-3)
    model = scnode.get.model(adata)
    held = model.decoder.decode(torch.as_tensor(record["perturbed"]))[..., model.genes.index("Drug_TF1")]
    np.testing.assert_allclose(held.detach(), 0, atol=1e-3)
    assert np.abs(record["perturbed"] - expected).max() > 0.1


def test_new_cells_are_mapped_under_their_own_input(dosed):
    new = dosed[::7].copy()
    del new.obsm["X_scnode"], new.obsm["velocity_scnode"], new.uns["scnode"]
    scnode.tl.map(new, dosed)
    np.testing.assert_allclose(new.obsm["velocity_scnode"], dosed.obsm["velocity_scnode"][::7], rtol=1e-4, atol=1e-4)
    del new.obs["dose"]
    with pytest.raises(ScnodeError, match=r"adata\.obs\['dose'\] not found"):
        scnode.tl.map(new, dosed)


def test_held_out_times_are_judged_within_arms(known):
    adata = known.copy()
    options = {**FAST, "max_epochs": 30, "n_members": 1, "control_key": "dose"}
    options.pop("rng")
    scnode.tl.evaluate(adata, time_key="day", holdout=1.0, params=options, n_splits=1)
    table = adata.uns["scnode"]["evaluation"]["table"].set_index("method")
    # Halves of three arms of fifty cells.
    assert table.loc["scnode", "n_cells"] == 75
    # Each arm moves by (1, dose) from the untreated cells of the first day.
    assert table.loc["scnode_forecast", "w1"] < 0.5 * table.loc["no_motion", "w1"]
    assert table.loc["ot_interpolation", "w1"] < 0.5 * table.loc["no_motion", "w1"]


def test_a_field_of_the_users_is_a_start(known):
    adata, field = known.copy(), nn.ControlledField(2, n_controls=1, hidden=(4,), rest=True)
    scnode.tl.fit(adata, time_key="day", control_key="dose", field=field, use_rep="X_plane", max_epochs=1)
    assert scnode.get.model(adata).field.sizes == field.sizes


BAD = [
    ({"time_key": "day", "control_key": "dsoe"}, "Did you mean 'dose'"),
    ({"time_key": "day", "field": "controlled"}, "Pass control_key="),
    ({"time_key": "day", "field": nn.ControlledField(2)}, "Pass control_key="),
    ({"time_key": "day", "control_key": "dose", "field": nn.MLPField(2)}, "Leave field= out"),
    ({"time_key": "day", "control_key": "dose", "field": nn.ControlledField(2, n_controls=2)}, "as many columns"),
]


@pytest.mark.parametrize(("options", "fix"), BAD)
def test_what_cannot_be_is_told_with_the_mending_call_and_leaves_adata(known, options, fix):
    adata = known.copy()
    with pytest.raises(ScnodeError, match=fix):
        scnode.tl.fit(adata, **FAST, **options)
    assert set(adata.obsm) == set(known.obsm)
    assert not adata.uns


def test_arms_that_are_each_seen_once_say_nothing():
    adata = arms((0.0, 1.0), untreated=(2.0,))
    adata = adata[(adata.obs["dose"] == 0) | (adata.obs["day"] == 1)].copy()
    with pytest.raises(EvidenceError, match="Add untreated cells of the first time"):
        scnode.tl.fit(adata, time_key="day", control_key="dose", **FAST)


@pytest.mark.parametrize(
    ("control", "fix"),
    [
        ({"dsoe": 1.0}, "Did you mean 'dose'"),
        ({"dose": "high"}, "Pass such"),
        ({"dose": ([0.0, 1.0], [1.0])}, r"Pass \(times, levels\) of one length"),
        ({"dose": ([1.0, 0.0], [1.0, 0.0])}, "must increase"),
        (4.0, "names no column"),
    ],
)
def test_levels_that_are_none_are_told(dosed, control, fix):
    with pytest.raises(ScnodeError, match=fix):
        scnode.tl.trajectories(dosed, control=control)


def test_a_field_without_input_takes_none(fitted):
    with pytest.raises(ScnodeError, match=r"takes no input.*Fit with control_key="):
        scnode.tl.trajectories(fitted, control={"dose": 1.0})


def test_a_category_has_no_function_of_time():
    adata = arms((0.0, 1.0), days=(0.0, 2.0), untreated=(0.0,))
    scnode.tl.fit(adata, time_key="day", control_key="drug", **FAST | {"max_epochs": 1})
    with pytest.raises(ScnodeError, match=r"levels \['no', 'yes'\]"):
        scnode.tl.trajectories(adata, control={"drug": lambda t: t})
    with pytest.raises(ScnodeError, match=r"Pass one of \['no', 'yes'\]"):
        scnode.tl.trajectories(adata, control={"drug": "maybe"})
    assert travelled(adata, {"drug": ([0.0, 0.5], ["yes", "no"])}).shape == (2,)


@pytest.mark.slow
@pytest.mark.skipif("SCNODE_DATA" not in os.environ, reason="SCNODE_DATA names no folder of data sets")
def test_interferon_moves_each_type_to_its_own_stimulated_cells():
    adata = ad.read_h5ad(Path(os.environ["SCNODE_DATA"]) / "kang_ifnb_pbmc.h5ad")
    adata.obs["stim"] = (adata.obs["condition"] == "stim").to_numpy()
    adata.obs["hours"] = np.where(adata.obs["stim"], 6.0, 0.0)
    scnode.tl.fit(adata, time_key="hours", control_key="stim", n_members=2, max_epochs=60)
    untreated = ~adata.obs["stim"].to_numpy()
    scnode.tl.trajectories(adata, start=untreated, control={"stim": True}, n_steps=2)
    ends = adata.uns["scnode"]["trajectories"]["latent"][:, 0, -1]
    latent, types = adata.obsm["X_scnode"], adata.obs["clusters"].to_numpy(str)
    nearest = ((ends[:, None] - latent) ** 2).sum(-1).argmin(1)
    assert (~untreated)[nearest].mean() > 0.9
    assert (types[nearest] == types[untreated]).mean() > 0.7
    scnode.tl.trajectories(adata, start=untreated, control={"stim": False}, n_steps=2)
    np.testing.assert_array_equal(adata.uns["scnode"]["trajectories"]["latent"][:, 0, -1], latent[untreated])


def test_what_the_field_implies_is_under_each_cells_input(dosed):
    adata = dosed[::5].copy()
    for tool in (scnode.tl.ftle, scnode.tl.stiffness, scnode.tl.jacobian):
        tool(adata)
    assert np.isfinite(adata.obs[["scnode_ftle", "scnode_stiffness", "scnode_divergence"]]).all(axis=None)
    with pytest.raises(ScnodeError, match="Pass control="):
        scnode.tl.fixed_points(adata)
    scnode.tl.fixed_points(adata, control={"dose": 1.0}, t=2.0, n_starts=20)
    assert "fixed_points" in adata.uns["scnode"]


def test_noise_beside_an_input(known):
    """Drift and noise are those of each arm; without noise the drift alone moves."""
    adata = known.copy()
    scnode.tl.fit(adata, velocity_key="motion", control_key="dose", noise=True, **FAST)
    quiet = scnode.tl.fit(known, velocity_key="motion", control_key="dose", copy=True, **FAST)
    np.testing.assert_array_equal(adata.obsm["velocity_scnode"], quiet.obsm["velocity_scnode"])
    assert (adata.obs["scnode_diffusion"] > 0).all()
    assert adata.uns["scnode"]["report"]["noise"]["level"] > 0
    for control in ({"dose": 4.0}, {"dose": ([0.0, 0.5], [4.0, 0.0])}):
        smooth = travelled(quiet, control)
        np.testing.assert_array_equal(travelled(adata, control, noise=False), smooth)
        np.testing.assert_allclose(travelled(adata, control, n_samples=5), smooth, atol=0.15)


def test_snapshots_of_arms_train_drift_and_noise(known):
    adata = known.copy()
    scnode.tl.fit(adata, time_key="day", control_key="dose", noise=True, **FAST)
    stages = set(adata.uns["scnode"]["history"]["stage"])
    assert "noise" in stages
    np.testing.assert_allclose(travelled(adata, {"dose": 4.0}, n_samples=5), [2, 2], atol=0.4)


def test_the_trust_score_is_of_states_and_inputs(dosed):
    adata = dosed.copy()
    start = (adata.obs["day"] == 0).to_numpy()
    scnode.tl.trajectories(adata, start=start, control={"dose": ([0.0, 0.5], [4.0, 8.0])}, n_steps=5)
    stored = adata.uns["scnode"]["trajectories"]
    np.testing.assert_allclose(stored["control"][:, :, 0] / stored["control"][0, 0, 0], [[1, 1, 2, 2, 2]] * N)
    scnode.tl.ood(adata)
    judged = adata.uns["scnode"]["trajectories"]["ood"]
    ends = {}
    for name, level in (("later", ([0.0, 0.5], [4.0, 8.0])), ("seen", 4.0), ("far", 40.0)):
        scnode.tl.trajectories(adata, start=start, control={"dose": level}, n_steps=5)
        ends[name] = adata.uns["scnode"]["trajectories"]["ood"]
    np.testing.assert_allclose(ends["later"], judged, atol=1e-6)
    assert ends["seen"][..., -1].mean() + 0.3 < ends["far"][..., -1].mean()
    new = ad.AnnData(np.zeros((adata.n_obs, 1), np.float32), obs=adata.obs[["dose"]])
    new.obsm["X_plane"] = adata.obsm["X_plane"]
    scnode.tl.map(new, adata)
    np.testing.assert_allclose(new.obs["scnode_ood"], adata.obs["scnode_ood"], atol=1e-6)


def turned():
    """Cells of three days that move right; under the drug up on the first day, and down on the second."""
    rng, parts = np.random.default_rng(0), []
    for drug in (0.0, 1.0):
        for day in np.linspace(0, 2, 9)[int(drug) :]:
            cloud = rng.normal((day, drug * (day if day < 1 else 2 - day)), 0.15, (N, 2))
            parts.append((cloud, np.full(N, drug), np.full(N, day)))
    latent, drug, day = (np.concatenate(x) for x in zip(*parts, strict=True))
    obs = pd.DataFrame({"day": day, "drug": drug > 0}, index=[f"c{i}" for i in range(len(day))])
    return ad.AnnData(np.zeros((len(day), 1), np.float32), obs=obs, obsm={"X_plane": latent})


@pytest.fixture(scope="module")
def turning_arms():
    adata = turned()
    scnode.tl.fit(adata, time_key="day", control_key="drug", time_dependent=True, **FAST)
    return adata


@pytest.mark.parametrize("noise", [False, True])
def test_a_field_of_state_input_and_time(turning_arms, noise):
    adata = turning_arms
    if noise:
        adata = turned()
        scnode.tl.fit(adata, time_key="day", control_key="drug", time_dependent=True, noise=True, **FAST)
    up = np.where(adata.obs["drug"], np.where(adata.obs["day"] < 1, 2.0, -2.0), 0.0)
    apart = (np.abs(adata.obs["day"] - 1) > 0.3).to_numpy()
    truth = np.stack([np.full(adata.n_obs, 2.0), up], 1)
    assert cosine(adata.obsm["velocity_scnode"], truth)[apart].mean() > 0.9
    for drug, expected in ((True, 0.5), (False, 0.0), (([0.0, 0.2], [True, False]), 0.4)):
        moved = travelled(adata, {"drug": drug}, t=0.25)
        np.testing.assert_allclose(moved, [0.5, expected], atol=0.2)


def test_a_schedule_counts_from_the_clock_of_its_cells(turning_arms):
    """Treated for half of its way, a cell of the second day falls as one that stays treated, and then no more."""
    start = ((turning_arms.obs["day"] == 1.25) & ~turning_arms.obs["drug"]).to_numpy()
    height = {}
    for name, drug in (("all", True), ("half", ([0.0, 0.125], [True, False])), ("none", False)):
        scnode.tl.trajectories(turning_arms, start=start, control={"drug": drug}, t=0.25, n_steps=3)
        paths = turning_arms.uns["scnode"]["trajectories"]["latent"][:, 0]
        height[name] = (paths - paths[:, :1])[..., 1].mean(0)
    np.testing.assert_allclose(height["half"][1], height["all"][1], atol=1e-3)
    assert height["half"][1] < height["none"][1] - 0.05
    assert height["half"][2] > height["all"][2] + 0.1
    np.testing.assert_allclose(np.diff(height["half"])[1], np.diff(height["none"])[1], atol=0.05)
