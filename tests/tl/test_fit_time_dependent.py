"""A field that changes in time: cells move right for half of the clock, and back left for the other half."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import solve_ivp

import scnode
from scnode import ScnodeError, nn
from scnode.data import read_snapshots
from scnode.metrics import cosine
from scnode.tl._path_parts import Ground, path_parts
from scnode.tl._space import build_space, within_times

SPEED = 4.0


def turning(n_days=9, n=60):
    """Cells on days, and their true velocity."""
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(n_days), n)
    t = day / (n_days - 1)
    place = SPEED * np.minimum(t, 1 - t)
    latent = np.stack([place, np.zeros_like(place)], axis=1) + rng.normal(0, 0.5, (len(day), 2))
    obs = pd.DataFrame({"day": 10.0 + 2 * day, "side": np.where(latent[:, 0] > 1, "right", "left")})
    obs.index = [f"c{i}" for i in range(len(day))]
    adata = ad.AnnData(np.zeros((len(day), 1), np.float32), obs=obs, obsm={"X_plane": latent})
    return adata, np.stack([SPEED * np.sign(0.5 - t), np.zeros_like(t)], axis=1)


def fit(adata, **options):
    defaults = {"use_rep": "X_plane", "time_key": "day", "n_members": 2, "max_epochs": 60, "copy": True}
    with scnode.settings.override(verbosity=0):
        return scnode.tl.fit(adata, **defaults | options)


@pytest.fixture(scope="module")
def fitted():
    return fit(turning()[0], time_dependent=True)


def test_only_a_field_that_knows_the_time_follows(fitted):
    adata, truth = turning()
    away = np.abs(fitted.obs["scnode_time"].to_numpy() - 0.5) > 0.2
    blind = fit(adata, max_epochs=20)
    scores = [cosine(out.obsm["velocity_scnode"], truth)[away].mean() for out in (fitted, blind)]
    assert scores[0] > 0.95
    assert scores[1] < 0.3
    error = np.linalg.norm(fitted.obsm["velocity_scnode"] - truth, axis=1)[away].mean()
    assert error < 0.4 * SPEED
    assert fitted.uns["scnode"]["params"]["time_dependent"]


def test_trajectories_begin_at_the_clock_of_their_cells(fitted):
    early, late = (list(fitted.obs_names[fitted.obs["day"] == day][:20]) for day in (10.0, 22.0))
    ends = {}
    for name, start in (("early", early), ("late", late)):
        out = scnode.tl.trajectories(fitted, start=start, t=0.2, n_steps=3, copy=True)
        stored = out.uns["scnode"]["trajectories"]
        np.testing.assert_allclose(stored["t"], [0, 0.1, 0.2], atol=1e-6)
        ends[name] = (stored["latent"][:, 0, -1] - stored["latent"][:, 0, 0])[:, 0].mean()
    assert ends["early"] > 0.4
    assert ends["late"] < -0.4


def test_a_trajectory_is_that_of_the_field_on_the_clock(fitted):
    name = fitted.obs_names[fitted.obs["day"] == 16.0][0]
    out = scnode.tl.trajectories(fitted, start=[name], t=0.5, n_steps=2, copy=True)
    field, clock = scnode.get.model(fitted).field.double(), fitted.obs.loc[name, "scnode_time"]
    assert clock == pytest.approx(3 / 8)

    def velocity(t, y):
        with torch.no_grad():
            return field.mean(torch.tensor(t).double(), torch.from_numpy(y[None]))[0].numpy()

    start = fitted[name].obsm["X_scnode"][0].astype(float)
    exact = solve_ivp(velocity, (clock, clock + 0.5), start, rtol=1e-8, atol=1e-9).y[:, -1]
    np.testing.assert_allclose(out.uns["scnode"]["trajectories"]["latent"][0, 0, -1], exact, rtol=2e-3, atol=2e-3)


def test_velocities_and_jacobians_are_those_at_the_clock(fitted):
    model = scnode.get.model(fitted)
    states, clock = torch.from_numpy(fitted.obsm["X_scnode"]), torch.tensor(fitted.obs["scnode_time"].to_numpy())
    with torch.no_grad():
        velocity = model.field.mean(clock[:, None], states)
        jacobian = model.field.jacobian(clock[:, None], states)
        elsewhere = model.field.jacobian(torch.zeros(()), states)
    np.testing.assert_allclose(fitted.obsm["velocity_scnode"], velocity, atol=1e-5)
    out = scnode.tl.jacobian(fitted, copy=True)
    trace = np.einsum("nii->n", jacobian.numpy())
    np.testing.assert_allclose(out.obs["scnode_divergence"], trace, atol=1e-3)
    assert np.abs(trace - np.einsum("nii->n", elsewhere.numpy())).max() > 0.1


def test_a_committor_is_refused_and_a_flow_is_not(fitted):
    with pytest.raises(ScnodeError, match="Pass t="):
        scnode.tl.fate(fitted, groupby="side")
    adata = fitted.copy()
    adata.obs["end"] = adata.obs["side"].where(adata.obs["day"].isin([10.0, 18.0]), None)
    scnode.tl.fate(adata, groupby="end", t=0.25)
    right = adata.obsm["scnode_fate"]["right"]
    places = adata.obs["day"]
    # A quarter after 0.25 cells are at the turn, a quarter after 0.75 back at the start.
    assert right[places == 14.0].mean() > right[places == 22.0].mean() + 0.3


def test_new_cells_need_their_day(fitted):
    new = fitted[::7].copy()
    for key in ("X_scnode", "velocity_scnode"):
        del new.obsm[key]
    del new.uns["scnode"]
    scnode.tl.map(new, fitted)
    np.testing.assert_allclose(new.obsm["velocity_scnode"], fitted[::7].obsm["velocity_scnode"], atol=1e-4)
    np.testing.assert_allclose(new.obs["scnode_time"], fitted.obs["scnode_time"][::7])
    with pytest.raises(ScnodeError, match="object of the fitted cells"):
        scnode.tl.map(new, scnode.get.model(fitted))
    with pytest.raises(ScnodeError, match=r"obs\['day'\] not found"):
        scnode.tl.map(ad.AnnData(new.X, obs=new.obs.drop(columns="day"), obsm={"X_plane": new.obsm["X_plane"]}), fitted)


def test_without_the_clock_of_its_cells_nothing_is_solved(fitted):
    adata = fitted.copy()
    del adata.obs["scnode_time"]
    with pytest.raises(ScnodeError, match=r"tl\.fit\(adata\) again"):
        scnode.tl.trajectories(adata, start=[adata.obs_names[0]])
    adata.obs["scnode_time"] = np.nan
    with pytest.raises(ScnodeError, match="Drop those cells"):
        scnode.tl.jacobian(adata)


def test_held_out_times_are_forecast_on_the_clock():
    pytest.importorskip("ot")
    adata = turning(n_days=7, n=40)[0]
    tables = {}
    for timed in (False, True):
        params = {"use_rep": "X_plane", "n_members": 1, "max_epochs": 60, "time_dependent": timed}
        out = scnode.tl.evaluate(adata, time_key="day", holdout=12.0, params=params, n_splits=2, copy=True)
        tables[timed] = scnode.get.evaluation(out).set_index("method")["energy"]
    assert tables[True]["scnode_forecast"] < 0.5 * tables[False]["scnode_forecast"]


def test_neighbours_are_of_one_time():
    adata = turning(n_days=3, n=40)[0][:-7].copy()
    snapshots = read_snapshots(adata, "day")
    space = build_space(adata, use_rep="X_plane", layer=None, n_latent=None)
    near = within_times(space, snapshots).evidence.neighbors
    days = adata.obs["day"].to_numpy()
    assert near.index.shape == (113, 30)
    assert (days[near.index] == days[:, None]).all()
    assert (near.index[:, 0] == np.arange(113)).all()
    offset = space.latent[near.index] - space.latent[:, None]
    np.testing.assert_allclose(near.distance, np.linalg.norm(offset, axis=2), atol=1e-9)
    rest = read_snapshots(adata[:90].copy(), "day")
    few = build_space(adata[:90].copy(), use_rep="X_plane", layer=None, n_latent=None)
    assert within_times(few, rest).evidence.neighbors.index.shape == (90, 10)


class Fixed(nn.Field):
    name = "fixed"

    def scaled(self, t, z):
        return -z


@pytest.mark.parametrize(
    ("field", "fix"),
    [(nn.MLPField(2), "made with time_dependent=True"), ("fixed", "Pass one of"), (Fixed(2), "made with")],
)
def test_a_kind_without_time_is_refused(field, fix, monkeypatch):
    monkeypatch.setitem(nn.FIELDS, "fixed", Fixed)
    adata = turning(n_days=3, n=10)[0]
    with pytest.raises(ScnodeError, match=fix):
        fit(adata, field=field, time_dependent=True)
    assert "scnode" not in adata.uns


def test_a_phase_is_no_time():
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 400)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    adata = ad.AnnData(
        np.zeros((400, 1), np.float32), obsm={"X_ring": ring, "v": np.stack([-ring[:, 1], ring[:, 0]], axis=1)}
    )
    with pytest.raises(ScnodeError, match="phase of a cycle"):
        fit(adata, use_rep="X_ring", time_key=None, velocity_key="v", time_dependent=True)
    mine = nn.MLPField(2, time_dependent=True)
    with pytest.raises(ScnodeError, match="phase of a cycle"):
        fit(adata, use_rep="X_ring", time_key=None, velocity_key="v", field=mine)


def test_both_arms_of_a_knock_out_begin_at_the_clock_of_their_cells(line):
    out = fit(line, use_rep=None, time_key=None, n_latent=3, max_epochs=5, time_dependent=True)
    start = list(out.obs_names[[20, 150]])
    scnode.tl.perturb(out, {"g2": 0.5}, start=start, t=0.3, name="k", mode="initial")
    record, model = out.uns["scnode"]["perturbations"]["k"], scnode.get.model(out)
    states = torch.from_numpy(out.obsm["X_scnode"][[20, 150]])
    clock = torch.tensor(out.obs["scnode_time"].to_numpy()[[20, 150], None], dtype=torch.float32)
    with torch.no_grad():
        ends = model.flow(states, clock + torch.tensor([0.0, 0.3]), members=True)[:, :, -1]
        elsewhere = model.flow(states, torch.tensor([0.0, 0.3]), members=True)[:, :, -1]
    np.testing.assert_array_equal(record["control"], ends)
    assert not np.allclose(record["control"], elsewhere)


def test_a_field_of_the_users_that_knows_time_needs_no_more_words():
    mine = nn.MLPField(2, time_dependent=True, generator=torch.Generator().manual_seed(0))
    adata = turning(n_days=3, n=20)[0]
    by_field, by_name = (fit(adata, max_epochs=2, **o) for o in ({"field": mine}, {"time_dependent": True}))
    assert by_field.uns["scnode"]["params"]["time_dependent"]
    # One evidence for both, averaged within days.
    np.testing.assert_array_equal(by_field.uns["scnode"]["report"]["share"]["time"], 1)
    first, again = (out.uns["scnode"]["model"]["arrays"]["field.speed"] for out in (by_field, by_name))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("kind", ["mlp", "gradient", "gradient+circulation"])
def test_every_kind_with_time_is_fitted_on_a_pseudotime_too(line, kind):
    out = fit(line, use_rep=None, time_key=None, n_latent=3, max_epochs=2, field=kind, time_dependent=True)
    field = scnode.get.model(out).field
    assert field.time_dependent
    states = torch.from_numpy(out.obsm["X_scnode"])
    assert not torch.allclose(field.mean(torch.zeros(()), states), field.mean(torch.ones(()), states))


def test_forecasts_are_judged_at_the_clock_of_their_cells(fitted):
    """A quarter of the clock later a cell is where its own time takes it: right first, then back left."""
    out = fitted.copy()
    scnode.tl.ood(out)
    clock = out.obs["scnode_time"].to_numpy(dtype=float)
    rows = np.flatnonzero(clock < 0.76)
    scnode.tl.trajectories(out, start=list(out.obs_names[rows]), t=0.25, n_steps=5)
    stored = out.uns["scnode"]["trajectories"]
    place = SPEED * (np.minimum(clock + 0.25, 0.75 - clock) - np.minimum(clock, 1 - clock))[rows]
    truth = out.obsm["X_plane"][rows] + np.stack([place, np.zeros_like(place)], axis=1)
    inside = np.linalg.norm(stored["latent"][:, 0, -1] - truth, axis=1) <= stored["radius"][:, 0, -1]
    assert inside.mean() > 0.8
    np.testing.assert_allclose(stored["ood"][:, 0, -1], out.obs["scnode_ood"].to_numpy()[rows], atol=1e-4)
    again = scnode.tl.ood(out, copy=True).uns["scnode"]["trajectories"]
    np.testing.assert_allclose(again["ood"], stored["ood"], atol=1e-6)


def test_parts_of_a_path_are_those_of_its_time(fitted):
    """Two starts at one state: the same parts at the same clock, and others at another."""
    model = scnode.get.model(fitted)
    states = np.asarray(fitted.obsm["X_scnode"], dtype=float)
    ground = Ground(states, np.full(len(states), 0.1), np.full(len(states), 0.1))
    ts, begin = np.array([0.0, 0.1, 0.2]), np.array([0.1, 0.1, 0.7])
    parts = path_parts(model.field, ground, ts, np.repeat(states[:1, None], 3, axis=0).repeat(3, axis=1), begin)
    for name in ("jacobian_norm", "ftle", "error_bound", "disagreement"):
        np.testing.assert_allclose(parts[name][0], parts[name][1], rtol=1e-5)
        assert not np.allclose(parts[name][0, -1], parts[name][2, -1], rtol=1e-2)
    state = torch.as_tensor(states[:1], dtype=torch.float32)
    for row, start in enumerate((0.1, 0.1, 0.7)):
        own = torch.linalg.matrix_norm(model.field.jacobian(torch.tensor([[start]]), state), 2)
        np.testing.assert_allclose(parts["jacobian_norm"][row, 0], own.detach(), rtol=1e-4)
