import builtins
import functools

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scnode
from scnode import ScnodeError
from scnode.tl import _evaluate

pytest.importorskip("ot")
TIMES = (1.0, 2.0, 4.0, 5.0)
METHODS = ["scnode", "scnode_forecast", "no_motion", "ot_interpolation", "noise_floor"]


@pytest.fixture(scope="module")
def days():
    """400 cells on a half circle, a quarter of them collected on each of four days."""
    rng = np.random.default_rng(0)
    day = np.repeat(TIMES, 100)
    angle = np.pi * (day - 1 + rng.normal(0, 0.15, 400)) / 4
    latent = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 5 + rng.normal(0, 0.1, (400, 2))
    obs = pd.DataFrame({"day": day, "batch": "a", "own": angle}, index=[f"c{i}" for i in range(400)])
    adata = ad.AnnData(np.zeros((400, 1), np.float32), obs=obs, obsm={"X_plane": latent})
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(adata, use_rep="X_plane", time_key="day", n_members=2, max_epochs=60)
    return adata


@pytest.fixture
def calls(monkeypatch):
    """Arguments of every refit."""
    made = []

    @functools.wraps(scnode.tl.fit)
    def spy(adata, **options):
        made.append(options)
        return scnode.tl.fit(adata, **options)

    monkeypatch.setattr(_evaluate, "fit", spy)
    return made


def test_the_field_beats_standing_still_and_comes_near_the_floor(days, calls):
    adata = days.copy()
    scnode.tl.evaluate(adata, time_key="day")
    table = scnode.get.evaluation(adata)
    assert list(table.columns) == ["method", "holdout", "w1", "w2", "energy", "coverage", "coverage_conformal"]
    assert (table["coverage"].between(0, 1) & table["coverage_conformal"].between(0, 1)).all()
    floor = table[table["method"] == "noise_floor"]
    assert floor["coverage"].between(0.75, 0.97).all()
    assert abs(floor["coverage_conformal"].mean() - 0.9) < 0.06
    assert table["method"].tolist() == METHODS * 3
    assert table["holdout"].tolist() == np.repeat(TIMES[1:], len(METHODS)).tolist()
    assert np.isfinite(table[["w1", "w2", "energy"]].to_numpy()).all()
    assert (table["w1"] <= table["w2"] + 1e-9).all()
    w1 = table.pivot(index="holdout", columns="method", values="w1")
    assert (w1["noise_floor"] < w1[["scnode", "no_motion", "ot_interpolation"]].min(axis=1)).all()
    assert (w1["scnode"] < 0.6 * w1["no_motion"]).iloc[:-1].all()
    assert w1["no_motion"].idxmax() == 4.0
    assert [call["holdout"] for call in calls] == [[2.0], [4.0], [5.0], [4.0, 5.0]]
    (note,) = adata.uns["scnode"]["evaluation"]["notes"]
    assert note.startswith("Extrapolation beyond day=4 is")


def test_the_discrete_model_is_fitted_beside_and_changes_no_other_row(days, calls):
    options = {"time_key": "day", "holdout": 2.0, "n_splits": 1, "copy": True}
    plain, both = (scnode.get.evaluation(scnode.tl.evaluate(days, **options, discrete=d)) for d in (False, True))
    assert both["method"].tolist() == ["scnode", "scnode_forecast", "residual_map", *METHODS[2:]]
    pd.testing.assert_frame_equal(both[both["method"] != "residual_map"].reset_index(drop=True), plain)
    assert [call.get("solver") for call in calls] == ["auto", "auto", "euler"]
    w1 = both.set_index("method")["w1"]
    # From day 1 to 4 the cells go round three quarters of the half circle, and one step of three days cuts the corner.
    assert w1["scnode_forecast"] < 0.9 * w1["residual_map"]
    assert np.isfinite(w1).all()


@pytest.mark.parametrize(("forecast", "verdict"), [(0.1, "is supported"), (0.3, "is not supported by the data")])
def test_extrapolation_is_judged_where_it_can_be_checked(forecast, verdict):
    def score(time, *others):
        assert (time, others) == (4.0, (5.0,))
        return pd.DataFrame({"method": ["scnode_forecast", "no_motion"], "energy": [forecast, 0.2]})

    assert f"Extrapolation beyond day=4 {verdict}" in _evaluate._on_extrapolation(np.array(TIMES), "day", score)
    assert "too few" in _evaluate._on_extrapolation(np.array(TIMES[1:]), "day", score)


def test_new_fits_take_the_stored_parameters_and_leave_the_model(days, calls):
    adata = days.copy()
    adata.uns["scnode"]["params"]["max_epochs"] = 3
    before = adata.uns["scnode"]["model"]["arrays"]
    latent = adata.obsm["X_scnode"].copy()
    scnode.tl.evaluate(adata, time_key="day", holdout=2.0, n_splits=1)
    assert calls[0]["use_rep"] == "X_plane"
    assert calls[0]["n_members"] == 2
    assert calls[0]["max_epochs"] == 3
    assert calls[0]["time_key"] == "day"
    for name, values in adata.uns["scnode"]["model"]["arrays"].items():
        np.testing.assert_array_equal(values, before[name])
    np.testing.assert_array_equal(adata.obsm["X_scnode"], latent)
    assert set(adata.uns["scnode"]) == {*days.uns["scnode"], "evaluation"}


def test_given_parameters_need_no_run(days, calls, tmp_path):
    adata = ad.AnnData(days.X, obs=days.obs, obsm={"X_plane": days.obsm["X_plane"]})
    params = {"use_rep": "X_plane", "n_members": 1, "max_epochs": 5}
    out = scnode.tl.evaluate(adata, time_key="day", holdout=[4.0], params=params, max_cells=20, copy=True)
    assert "scnode" not in adata.uns
    assert calls[0]["n_members"] == 1
    assert (out.uns["scnode"]["evaluation"]["table"]["n_cells"] == 20).all()
    out.write_h5ad(tmp_path / "a.h5ad")
    again = scnode.get.evaluation(ad.read_h5ad(tmp_path / "a.h5ad"))
    pd.testing.assert_frame_equal(again, scnode.get.evaluation(out), check_dtype=False)


def test_the_same_rng_gives_the_same_figures(days, calls):
    options = {"holdout": 2.0, "params": {"use_rep": "X_plane", "max_epochs": 5}, "n_splits": 1, "rng": 5}
    first, again = (scnode.tl.evaluate(days, time_key="day", copy=True, **options) for _ in range(2))
    pd.testing.assert_frame_equal(scnode.get.evaluation(first), scnode.get.evaluation(again), check_exact=True)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"time_key": "dai"}, "Did you mean 'day'"),
        ({"time_key": "batch"}, "that are no times"),
        ({"time_key": "own"}, "no distribution"),
        ({"time_key": "day", "holdout": 3.0}, "the times of"),
        ({"time_key": "day", "holdout": []}, "the times of"),
        ({"time_key": "day", "holdout": [1.0, 2.0]}, "Pass a later one"),
        ({"time_key": "day", "params": {"n_member": 2}}, "Did you mean 'n_members'"),
        ({"time_key": "day", "max_cells": 1}, "at least 2"),
        ({"time_key": "day", "n_splits": 0}, "at least 1"),
        ({"time_key": "day", "key_added": "other"}, "tl.fit"),
        ({"time_key": "two"}, "three or more"),
        ({"time_key": "thin"}, "too few for a cloud"),
    ],
)
def test_bad_requests_leave_adata(days, calls, options, fix):
    adata = days.copy()
    adata.obs["two"] = (adata.obs["day"] > 2).astype(float)
    adata.obs["thin"] = adata.obs["day"].where(np.arange(400) > 2, 0.0)
    with pytest.raises(ScnodeError, match=fix):
        scnode.tl.evaluate(adata, **options)
    assert not calls
    assert "evaluation" not in adata.uns["scnode"]


def test_without_pot_nothing_is_fitted(days, calls, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "ot":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ScnodeError, match=r'pip install "scnode\[ot\]"'):
        scnode.tl.evaluate(days, time_key="day")
    assert not calls


def test_no_table_without_an_evaluation(days):
    with pytest.raises(ScnodeError, match=r"tl\.evaluate"):
        scnode.get.evaluation(days)
