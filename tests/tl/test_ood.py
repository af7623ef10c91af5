import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scnode
from scnode import ScnodeError
from scnode.tl._path_parts import PARTS

N = 400


@pytest.fixture(scope="module")
def fork():
    """400 cells that run right and then up or down, in five dimensions; nobody runs left."""
    rng = np.random.default_rng(0)
    time = rng.uniform(0, 1, N)
    side = np.where(np.arange(N) % 2, 1.0, -1.0)
    latent = rng.normal(0, 0.15, (N, 5))
    latent[:, 0] += 4 * time
    latent[:, 1] += side * 4 * np.maximum(time - 0.4, 0)
    obs = pd.DataFrame({"when": time, "side": np.where(side > 0, "up", "down")}, index=[f"c{i}" for i in range(N)])
    obs.loc[obs["when"] < 0.4, "side"] = "stem"
    adata = ad.AnnData(np.zeros((N, 1), np.float32), obs=obs, obsm={"X_plane": latent})
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(adata, use_rep="X_plane", pseudotime_key="when", n_members=3, max_epochs=40)
    return adata


@pytest.fixture(scope="module")
def scored(fork):
    adata = fork.copy()
    scnode.tl.trajectories(adata, n_steps=30, n_samples=2)
    scnode.tl.ood(adata)
    return adata


def test_what_is_written_is_complete_and_finite(scored):
    score, bound = scored.obs["scnode_ood"], scored.obs["scnode_error_bound"]
    assert ((score >= 0) & (score <= 1)).all()
    assert (np.isfinite(bound) & (bound > 0)).all()
    run = scored.uns["scnode"]["ood"]
    assert list(run["parts"].columns) == [*PARTS, "radius", "noise", "field_error"]
    assert np.isfinite(run["parts"].to_numpy()).all()
    assert set(run["weights"]) == set(PARTS)
    assert min(run["weights"].values()) >= 0
    assert max(run["weights"].values()) > 0
    assert run["held_out_ratio"] >= 1
    stored = scored.uns["scnode"]["trajectories"]
    assert stored["ood"].shape == stored["radius"].shape == stored["latent"].shape[:3]
    spread = np.sqrt(scored.obsm["X_scnode"].astype(float).var(0).sum())
    np.testing.assert_allclose(bound, run["parts"]["error_bound"] * spread, rtol=1e-4)


def test_states_off_the_cells_are_doubted_more(scored):
    far, near = scored[:60].copy(), scored[:60].copy()
    far.obsm["X_plane"] = far.obsm["X_plane"] + np.array([0, 0, 3.0, -3.0, 0])
    for new in (far, near):
        scnode.tl.map(new, scored)
    assert far.obs["scnode_ood"].min() > near.obs["scnode_ood"].median()
    assert far.obs["scnode_ood"].mean() > 0.8
    np.testing.assert_allclose(near.obs["scnode_ood"], scored.obs["scnode_ood"][:60], atol=1e-5)
    np.testing.assert_allclose(near.obs["scnode_error_bound"], scored.obs["scnode_error_bound"][:60], rtol=1e-3)


def test_a_branch_that_the_fit_has_not_seen_is_doubted(fork):
    seen = fork[fork.obs["side"] != "up"].copy()
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(seen, use_rep="X_plane", pseudotime_key="when", n_members=3, max_epochs=40)
    scnode.tl.ood(seen)
    late = fork[(fork.obs["side"] != "stem") & (fork.obs["when"] > 0.6)].copy()
    scnode.tl.map(late, seen)
    mean = late.obs.groupby("side", observed=True)["scnode_ood"].mean()
    assert mean["up"] > mean["down"] + 0.3


def test_the_radius_holds_the_way_of_other_cells(scored):
    """The truth is known: along x for all, up or down after the fork."""
    rng = np.random.default_rng(3)
    time, tau = rng.uniform(0.45, 0.7, 200), 0.25
    rows = [np.abs(scored.obs["when"] - t).argmin() for t in time]
    adata = scnode.tl.trajectories(scored, start=scored.obs_names[rows], t=tau, n_steps=6, copy=True)
    stored = adata.uns["scnode"]["trajectories"]
    when, side = scored.obs["when"].to_numpy()[rows], np.sign(scored.obsm["X_plane"][rows, 1])
    truth = np.zeros((200, 5))
    truth[:, 0], truth[:, 1] = 4 * (when + tau), side * 4 * np.maximum(when + tau - 0.4, 0)
    inside = np.linalg.norm(stored["latent"][:, 0, -1] - truth, axis=1) <= stored["radius"][:, 0, -1]
    assert inside.mean() > 0.8


def test_another_seed_gives_much_the_same_score(fork, scored):
    other = scnode.tl.ood(fork, copy=True, rng=1)
    assert "scnode_ood" not in fork.obs
    assert not np.array_equal(scored.obs["scnode_ood"], other.obs["scnode_ood"])
    assert np.corrcoef(scored.obs["scnode_ood"], other.obs["scnode_ood"])[0, 1] > 0.6


def test_later_trajectories_are_judged_by_the_calibration(scored):
    adata = scnode.tl.trajectories(scored, n_steps=30, n_samples=2, copy=True)
    before, after = (a.uns["scnode"]["trajectories"] for a in (scored, adata))
    np.testing.assert_allclose(after["ood"], before["ood"], atol=1e-6)
    # Few steps are judged and the rest lies between: the starts and the ends are judged themselves.
    coarse = scnode.tl.trajectories(scored, n_steps=2, copy=True).uns["scnode"]["trajectories"]
    assert coarse["ood"].shape == (40, 1, 2)
    table = scnode.get.trajectories(adata).obs
    np.testing.assert_array_equal(table["ood"], after["ood"].ravel())
    np.testing.assert_array_equal(table["radius"], after["radius"].ravel())


def test_a_part_of_the_cells_keeps_its_calibration(scored):
    part = scored[::2].copy()
    scnode.tl.trajectories(part, start=part.obs_names[:5], n_steps=5)
    assert np.isfinite(part.uns["scnode"]["trajectories"]["ood"]).all()


def test_a_new_fit_takes_the_old_score_away(scored):
    adata = scored.copy()
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(adata, use_rep="X_plane", pseudotime_key="when", n_members=1, max_epochs=2)
    assert "scnode_ood" not in adata.obs
    assert "scnode_error_bound" not in adata.obs
    assert "ood" not in adata.uns["scnode"]


def test_the_report_names_shares_groups_and_why(scored, caplog):
    with caplog.at_level("WARNING", logger="scnode"):
        adata = scnode.tl.ood(scored, groupby="side", horizon=3.0, copy=True)
    assert "beyond the range of the clock" in caplog.text
    assert np.isfinite(adata.obs["scnode_ood"]).all()
    report = adata.uns["scnode"]["ood"]["report"]
    doubted = adata.obs["scnode_ood"] > 0.5
    assert report.startswith(f"{100 * doubted.mean():.0f} % of the cells and ")
    assert "of the trajectories' ends lie where the model should not be believed" in report
    if doubted.any():
        worst = adata.obs["side"][doubted].value_counts().idxmax()
        assert f"mostly in group {worst} because" in report


def test_what_is_written_survives_a_file(scored, tmp_path):
    scored.write_h5ad(tmp_path / "scored.h5ad")
    back = ad.read_h5ad(tmp_path / "scored.h5ad")
    for adata in (scored, back):
        scnode.tl.trajectories(adata, n_steps=4)
    ours, theirs = (a.uns["scnode"]["trajectories"]["ood"] for a in (scored, back))
    np.testing.assert_array_equal(ours, theirs)


def test_an_ensemble_of_one_has_no_disagreement_and_no_radius(fork, caplog):
    alone = fork[::4].copy()
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(alone, use_rep="X_plane", pseudotime_key="when", n_members=1, max_epochs=20)
    with scnode.settings.override(verbosity=1), caplog.at_level("WARNING", logger="scnode"):
        scnode.tl.ood(alone)
    assert "n_members=5" in caplog.text
    run = alone.uns["scnode"]["ood"]
    assert "disagreement" not in run["weights"]
    assert "radius" not in run["parts"]
    scnode.tl.trajectories(alone, n_steps=4)
    assert "radius" not in alone.uns["scnode"]["trajectories"]
    with pytest.raises(ScnodeError, match="n_members="):
        scnode.tl.trajectories(alone, n_samples=2)


def test_a_forecast_beyond_the_clock_is_given_with_a_warning(scored, caplog):
    with caplog.at_level("WARNING", logger="scnode"):
        scnode.tl.trajectories(scored, t=4.0, n_steps=3, copy=True)
    assert "beyond the range of the clock" in caplog.text


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        (lambda a: a, {"horizon": 0.0}, "must be positive"),
        (lambda a: a, {"horizon": -1.0}, "must be positive"),
        (lambda a: a, {"horizon": np.nan}, "must be positive"),
        (lambda a: a, {"groupby": "nowhere"}, "Pass groupby="),
        (lambda a: a[:1].copy(), {}, "a calibration needs 40"),
        (lambda a: a[:30].copy(), {}, "a calibration needs 40"),
        (lambda a: a.obsm.pop("X_scnode") is None or a, {}, "tl.fit"),
        (lambda a: a.obsm.pop("scnode_evidence") is None or a, {}, "tl.fit"),
        (lambda a: a.uns.pop("scnode") is None or a, {}, "tl.fit"),
        (lambda a: a.obs.assign(one="x").pipe(lambda o: setattr(a, "obs", o)) or a, {"groupby": "one"}, "two are"),
    ],
)
def test_what_cannot_be_judged_is_refused_and_left_alone(fork, change, options, told):
    adata = change(fork.copy())
    before = set(adata.obs)
    with pytest.raises(ScnodeError, match=told):
        scnode.tl.ood(adata, **options)
    assert set(adata.obs) == before
