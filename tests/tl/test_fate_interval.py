"""Intervals for fates hold the truth as often as they say."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scnode
from scnode import ScnodeError
from scnode.tl._committor import Committor
from scnode.tl._fate_interval import intervals, read_known


def noisy(n, *, seed=0):
    """Probabilities that are wrong by more than their standard errors say, more so where these are large."""
    rng = np.random.default_rng(seed)
    truth, se = rng.uniform(0.3, 0.7, n), rng.uniform(0.0, 0.1, n)
    up = truth + 2 * (se + 0.01) * rng.normal(size=n)
    found = Committor(np.stack([up, 1 - up], axis=1), np.stack([se, se], axis=1))
    return found, np.stack([truth, 1 - truth], axis=1)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_new_cells_are_held_as_often_as_asked(coverage):
    found, truth = noisy(4000)
    known = np.where(np.arange(4000)[:, None] < 1000, truth, np.nan)
    low, high = intervals(found, known, np.ones(4000, dtype=bool), coverage)
    held = ((low <= truth) & (truth <= high))[1000:].mean(0)
    np.testing.assert_allclose(held, coverage, atol=0.04)
    width = (high - low)[:, 0]
    assert width[found.se[:, 0] > 0.08].mean() > 1.5 * width[found.se[:, 0] < 0.02].mean()


def test_terminal_cells_are_certain_and_do_not_calibrate():
    found, truth = noisy(200)
    live = np.arange(200) >= 100
    found.probability[~live] = [1.0, 0.0]
    truth[~live] = [0.0, 1.0]
    low, high = intervals(found, truth, live, 0.9)
    np.testing.assert_array_equal(low[~live], found.probability[~live])
    np.testing.assert_array_equal(high[~live], found.probability[~live])
    assert (high - low)[live].max() < 0.9


@pytest.fixture(scope="module")
def cells():
    """A short fit to a bifurcation, and true fates of every third cell."""
    adata = scnode.datasets.bifurcation(n_cells=600, n_genes=40, n_futures=50, rng=0)
    scnode.tl.fit(adata, pseudotime_key="true_time", n_latent=6, n_members=2, max_epochs=20)
    fates = list(adata.obsm["true_fate_probability"])
    late = adata.obs["true_time"] > adata.obs["true_time"].quantile(0.8)
    adata.obs["end"] = adata.obs["clusters"].astype(object).where(adata.obs["clusters"].isin(fates) & late)
    third = np.arange(600) % 3 == 0
    adata.obsm["known"] = adata.obsm["true_fate_probability"][third].reindex(adata.obs_names)
    return adata


def held(adata):
    """Share of cells whose fates were not told that the intervals hold, by fate."""
    asked = (adata.obs["end"].isna() & adata.obsm["known"].isna().any(axis=1)).to_numpy()
    low, high, truth = (adata.obsm[k][asked] for k in ("scnode_fate_low", "scnode_fate_high", "true_fate_probability"))
    return ((low <= truth + 1e-9) & (truth <= high + 1e-9)).mean()


def test_intervals_are_written_and_hold_the_truth(cells, tmp_path):
    adata = scnode.tl.fate(cells, groupby="end", known_key="known", copy=True)
    assert held(adata).between(0.84, 0.96).all()
    low, high, mean = (adata.obsm[f"scnode_fate{end}"] for end in ("_low", "_high", ""))
    assert ((low <= mean) & (mean <= high)).all(axis=None)
    record = adata.uns["scnode"]["fate"]
    assert (record["known_key"], record["coverage"]) == ("known", 0.9)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    pd.testing.assert_frame_equal(ad.read_h5ad(tmp_path / "cells.h5ad").obsm["scnode_fate_low"], low)
    scnode.tl.fate(adata, groupby="end")
    assert not {"scnode_fate_low", "scnode_fate_high"} & set(adata.obsm)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bifurcation", "branching"])
def test_nine_in_ten_on_simulations(kind):
    adata = getattr(scnode.datasets, kind)(n_cells=1500, n_genes=60, n_futures=100, rng=1)
    scnode.pp.velocity(adata)
    scnode.tl.fit(adata, n_members=3, max_epochs=40)
    fates = list(adata.obsm["true_fate_probability"])
    late = adata.obs["true_time"] > adata.obs["true_time"].quantile(0.8)
    adata.obs["end"] = adata.obs["clusters"].astype(object).where(adata.obs["clusters"].isin(fates) & late)
    told = np.random.default_rng(0).random(1500) < 0.3
    adata.obsm["known"] = adata.obsm["true_fate_probability"][told].reindex(adata.obs_names)
    scnode.tl.fate(adata, groupby="end", known_key="known")
    assert held(adata).between(0.86, 0.94).all()


def table(**columns):
    frame = pd.DataFrame(columns, index=[f"c{i}" for i in range(3)])
    return ad.AnnData(np.zeros((3, 1), np.float32), obs=frame[[]].copy(), obsm={"known": frame})


@pytest.mark.parametrize(
    ("adata", "key", "fix"),
    [
        (table(a=[0.0, 1, np.nan], b=[1.0, 0, np.nan]), "konwn", r"Did you mean 'known'\? Pass known_key="),
        (table(a=[0.0, 1, 1]), "known", r"has no column \['b'\]"),
        (table(a=[0.0, 2, 1], b=[1.0, -1, 0]), "known", "below 0 or above 1 in 1 cells"),
    ],
)
def test_fates_that_are_not_shares(adata, key, fix):
    with pytest.raises(ScnodeError, match=fix):
        read_known(adata, key, np.array(["a", "b"]))


def test_what_cannot_be_calibrated_leaves_adata(cells):
    adata = cells.copy()
    adata.obsm["few"] = adata.obsm["known"][:15].reindex(adata.obs_names)
    adata.obsm["bare"] = adata.obsm["known"].to_numpy()
    for options, fix in (
        ({"known_key": "few"}, r"known of \d cells outside the terminal groups; coverage=0.9 needs 9. Lower coverage="),
        ({"known_key": "bare"}, "does not name its columns. Pass a DataFrame"),
        ({"coverage": 1.0}, "coverage=1.0 must lie between 0 and 1"),
    ):
        with pytest.raises(ScnodeError, match=fix):
            scnode.tl.fate(adata, groupby="end", **options)
    assert "scnode_fate" not in adata.obsm
