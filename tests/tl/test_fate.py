import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scnode
from scnode import ScnodeError
from scnode.tl._outcomes import group_shares, named_groups


@pytest.fixture(scope="module")
def forked():
    """A stem along x that forks up and down, with a velocity that follows it."""
    rng = np.random.default_rng(0)
    n = 600
    time, side = np.sort(rng.uniform(0, 1, n)), rng.choice([-1.0, 1.0], n)
    lift = np.maximum(time - 0.5, 0)
    latent = np.stack([time, side * lift], axis=1) + rng.normal(0, 0.02, (n, 2))
    stage = np.where(time < 0.85, "stem", np.where(side > 0, "up", "down"))
    obs = pd.DataFrame({"time": time, "side": side, "stage": pd.Categorical(stage)}, index=[f"c{i}" for i in range(n)])
    adata = ad.AnnData(np.zeros((n, 1), np.float32), obs=obs, obsm={"X_plane": latent})
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(adata, use_rep="X_plane", pseudotime_key="time", n_members=3, max_epochs=60)
    return adata


@pytest.fixture(scope="module")
def fated(forked):
    adata = forked.copy()
    scnode.tl.fate(adata, groupby="stage", groups=["up", "down"])
    return adata


def test_what_is_written(fated, tmp_path):
    table, se = fated.obsm["scnode_fate"], fated.obsm["scnode_fate_se"]
    assert list(table.columns) == list(se.columns) == ["down", "up"]
    assert list(table.index) == list(fated.obs_names)
    np.testing.assert_allclose(table.sum(axis=1), 1)
    assert (se.to_numpy() >= 0).all()
    fated.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(again.obsm["scnode_fate"], table)
    assert list(again.uns["scnode"]["fate"]["groups"]) == ["down", "up"]
    assert again.uns["scnode"]["fate"]["groupby"] == "stage"


def test_terminal_cells_are_certain_and_the_stem_is_not(fated):
    up = fated.obsm["scnode_fate"]["up"]
    stage, entropy = fated.obs["stage"], fated.obs["scnode_fate_entropy"]
    assert (up[stage == "up"] == 1).all()
    assert (up[stage == "down"] == 0).all()
    assert (entropy[stage != "stem"] == 0).all()
    assert entropy.between(0, 1).all()
    early = fated.obs["time"] < 0.3
    assert up[early].between(0.2, 0.8).all()
    assert entropy[early].mean() > 0.7


def test_past_the_fork_cells_go_on_where_they_are(fated):
    past = fated.obs["time"].between(0.7, 0.85)
    up, side = fated.obsm["scnode_fate"]["up"][past], fated.obs["side"][past]
    assert ((up > 0.5) == (side > 0)).mean() > 0.97


def test_a_given_time_takes_the_flow(forked):
    out = scnode.tl.fate(forked, groupby="stage", groups=["up", "down"], t=0.3, copy=True)
    assert "scnode_fate" not in forked.obsm
    table = out.obsm["scnode_fate"]
    np.testing.assert_allclose(table.sum(axis=1), 1)
    past = out.obs["time"].between(0.7, 0.85)
    assert ((table["up"][past] > 0.5) == (out.obs["side"][past] > 0)).mean() > 0.95
    assert (out.obsm["scnode_fate_se"][out.obs["stage"] != "stem"].to_numpy() == 0).all()


def test_missing_labels_are_no_group(forked):
    adata = forked.copy()
    adata.obs["end"] = adata.obs["stage"].where(adata.obs["stage"] != "stem").cat.remove_unused_categories()
    scnode.tl.fate(adata, groupby="end")
    named = scnode.tl.fate(forked, groupby="stage", groups=["up", "down"], copy=True)
    pd.testing.assert_frame_equal(adata.obsm["scnode_fate"], named.obsm["scnode_fate"])


def test_the_same_rng_gives_the_same_bits(forked):
    first, again = (
        scnode.tl.fate(forked, groupby="stage", groups=["up", "down"], rng=3, copy=True).obsm for _ in range(2)
    )
    for key in ("scnode_fate", "scnode_fate_se"):
        pd.testing.assert_frame_equal(first[key], again[key], check_exact=True)


def test_perturb_takes_the_groups_of_the_last_fate(fitted):
    adata = fitted.copy()
    adata.obs["stage"] = pd.cut(adata.obs["pseudotime"], [-1, 0.4, 0.9, 2], labels=["early", "mid", "late"]).astype(str)
    with pytest.raises(ScnodeError, match="groupby="):
        scnode.tl.perturb(adata, {"g2": 0.0}, groups=["late"])
    scnode.tl.fate(adata, groupby="stage", groups=["early", "late"])
    scnode.tl.perturb(adata, {"g2": 0.0}, name="a")
    assert scnode.get.perturbation(adata, "a")["fate"].tolist() == ["early", "late"]
    scnode.tl.perturb(adata, {"g2": 0.0}, groups=["mid", "late"], name="b")
    assert scnode.get.perturbation(adata, "b")["fate"].tolist() == ["late", "mid"]


def test_shares_are_those_of_the_nearest_terminal_cells():
    latent = np.concatenate([np.zeros((10, 1)), np.ones((20, 1)), [[0.5]]])
    terminal = np.array(["a"] * 10 + ["b"] * 20 + [""])
    shares = group_shares(latent, terminal, np.array([[[-1.0]], [[2.0]]]))
    assert shares.shape == (2, 1, 2)
    np.testing.assert_allclose(shares[0, 0], [10 / 15, 5 / 15])
    np.testing.assert_allclose(shares[1, 0], [0, 1])


def test_named_groups_leave_missing_labels_empty(forked):
    adata = forked[:4].copy()
    adata.obs["end"] = pd.Categorical(["up", None, "down", "up"])
    assert named_groups(adata, "end", None).tolist() == ["up", "", "down", "up"]
    assert named_groups(adata, "end", ["down"]).tolist() == ["", "", "down", ""]


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"groupby": "stages"}, "Did you mean 'stage'"),
        ({"groupby": "stage", "groups": ["upp", "down"]}, "Did you mean 'up'"),
        ({"groupby": "stage", "groups": "up"}, r"groups=\['up'\]"),
        ({"groupby": "stage", "groups": ["up"]}, "Pass two"),
        ({"groupby": "stage", "groups": []}, "Pass groups="),
        ({"groupby": "stage"}, "Pass the last ones"),
        ({"groupby": "stage", "groups": ["up", "down"], "t": 0}, "positive"),
        ({"groupby": "stage", "groups": ["up", "down"], "t": float("nan")}, "positive"),
        ({"groupby": "stage", "groups": ["up", "down"], "key_added": "other"}, "tl.fit"),
    ],
)
def test_bad_requests_leave_adata(forked, options, fix):
    before = set(forked.obsm), set(forked.obs), set(forked.uns["scnode"])
    with pytest.raises(ScnodeError, match=fix):
        scnode.tl.fate(forked, **options)
    assert (set(forked.obsm), set(forked.obs), set(forked.uns["scnode"])) == before


@pytest.mark.slow
@pytest.mark.parametrize(("simulate", "least", "most_error"), [("bifurcation", 0.2, 0.16), ("branching", 0.35, 0.17)])
def test_undecided_cells_of_known_fate(simulate, least, most_error):
    """Regression of the true probabilities themselves on these counts reaches 0.27 and 0.46."""
    adata = getattr(scnode.datasets, simulate)(n_futures=60, rng=104)
    truth = adata.obsm["true_fate_probability"]
    open_ = (truth >= 0.1) & (truth <= 0.9)
    decided = ~open_.to_numpy().any(1) & adata.obs["clusters"].isin(truth.columns).to_numpy()
    adata.obs["end"] = adata.obs["clusters"].where(decided)
    scnode.tl.fit(adata)
    scnode.tl.fate(adata, groupby="end")
    found, known = adata.obsm["scnode_fate"][truth.columns].to_numpy()[open_], truth.to_numpy()[open_]
    assert np.corrcoef(found, known)[0, 1] > least
    assert np.sqrt(((found - known) ** 2).mean()) < most_error
