"""Collection days and clones."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scnode import ScnodeError
from scnode.datasets import bifurcation, branching
from scnode.datasets._bifurcation import BIFURCATION
from scnode.datasets._branching import BRANCHING
from scnode.datasets._collection import ASYNCHRONY, LABELLING, Collection, collect, run

BOTH = pytest.mark.parametrize("kind", [BIFURCATION, BRANCHING], ids=lambda kind: kind.name)
SIMULATORS = pytest.mark.parametrize("simulate", [bifurcation, branching])


def course(kind, n_cells=1600, n_days=4, n_clones=200, seed=0):
    """Collection and states of the regulators alone."""
    rng = np.random.default_rng(seed)
    network = kind.build(kind.n_core, rng)
    collection = collect(kind.duration, n_cells, n_days, n_clones, rng)
    return network, collection, run(network, kind.start, collection, 0.05, rng)


def pairs(clone):
    """Pairs of different cells of one clone."""
    same = (clone[:, None] == clone[None]) & (clone >= 0)[:, None]
    return np.argwhere(np.triu(same, 1)).T


@pytest.mark.parametrize("n_days", [2, 3, 7])
def test_days_are_equal_in_number_and_spacing(n_days):
    collection = collect(30.0, 210, n_days, None, np.random.default_rng(0))
    hours, counts = np.unique(collection.hour, return_counts=True)
    np.testing.assert_allclose(hours, np.linspace(0, 30, n_days))
    assert np.ptp(counts) <= 1
    assert not np.array_equal(collection.hour, np.sort(collection.hour))


def test_cells_are_asynchronous_within_the_run():
    collection = collect(30.0, 4000, 4, None, np.random.default_rng(0))
    delay = collection.time - collection.hour
    assert collection.time.min() == 0
    assert collection.time.max() == 30
    for hour in (10, 20):
        found = delay[np.isclose(collection.hour, hour)]
        assert found.std() == pytest.approx(ASYNCHRONY * 10, rel=0.1)
        assert abs(found.mean()) < 0.1


@BOTH
def test_members_agree_in_fate_more_than_random_pairs(kind):
    network, collection, state = course(kind)
    fate = kind.end_fates(network, state)
    first, second = pairs(collection.clone)
    agreement = np.mean(fate[first] == fate[second])
    labelled = fate[collection.clone >= 0]
    chance = sum(np.mean(labelled == name) ** 2 for name in kind.labels)
    assert agreement > chance + 0.1
    assert agreement < 0.9


@BOTH
def test_early_members_tell_the_fate_of_later_ones(kind):
    network, collection, state = course(kind)
    fate, days = kind.end_fates(network, state), np.unique(collection.hour)
    first, second = pairs(collection.clone)
    swap = collection.hour[first] > collection.hour[second]
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    tied = (collection.hour[first] == days[2]) & (collection.hour[second] == days[3])
    by_clone = np.mean(fate[first[tied]] == fate[second[tied]])
    rng = np.random.default_rng(1)
    assert by_clone > np.mean(fate[first[tied]] == fate[rng.permutation(second[tied])]) + 0.05


@BOTH
def test_descendants_share_the_founder_and_part_afterwards(kind):
    rng = np.random.default_rng(0)
    network = kind.build(kind.n_core, rng)
    collection = collect(kind.duration, 400, 4, 30, rng)
    quiet = run(network, kind.start, collection, 0.0, np.random.default_rng(1))[:, 1]
    noisy = run(network, kind.start, collection, 0.05, np.random.default_rng(1))[:, 1]
    days = np.unique(collection.hour)
    first, second = pairs(collection.clone)
    for k, least in ((1, 0.0), (3, 0.3)):
        tied = (collection.hour[first] == days[k]) & (collection.hour[second] == days[k])
        assert tied.any()
        np.testing.assert_allclose(quiet[first[tied]], quiet[second[tied]])
        assert np.abs(noisy[first[tied]] - noisy[second[tied]]).mean() > least


def test_clones_begin_at_labelling_and_are_seen_on_several_days():
    _, collection, _ = course(BIFURCATION, n_clones=60)
    labelled = collection.clone >= 0
    before = collection.hour < LABELLING * BIFURCATION.duration
    assert not labelled[before].any()
    assert np.mean(labelled[~before]) == pytest.approx(0.8, abs=0.05)
    seen = pd.Series(collection.hour[labelled]).groupby(collection.clone[labelled]).nunique()
    assert (seen >= 2).mean() > 0.9
    member = np.flatnonzero(labelled)
    assert (collection.time[member] >= collection.founder_time[collection.clone[member]]).all()


@SIMULATORS
def test_columns_survive_h5ad_and_repeat(simulate, tmp_path):
    options = {"n_cells": 60, "n_genes": 16, "n_days": 3, "n_clones": 8, "n_futures": 4}
    adata, again = simulate(**options, rng=2), simulate(**options, rng=2)
    pd.testing.assert_frame_equal(adata.obs, again.obs)
    assert (adata.X != again.X).nnz == 0
    pd.testing.assert_frame_equal(adata.obsm["true_fate_probability"], again.obsm["true_fate_probability"])
    adata.write_h5ad(tmp_path / "course.h5ad")
    back = ad.read_h5ad(tmp_path / "course.h5ad")
    pd.testing.assert_frame_equal(back.obs, adata.obs, check_categorical=False)
    assert back.obs["clone"].isna().sum() == adata.obs["clone"].isna().sum() > 0
    pd.testing.assert_frame_equal(back.obsm["true_fate_probability"], adata.obsm["true_fate_probability"])
    simulation = back.uns["simulation"]
    np.testing.assert_allclose(np.unique(back.obs["day"]), np.linspace(0, simulation["duration"] / 24, 3))
    assert simulation["labelling_time"] == pytest.approx(LABELLING * simulation["duration"])
    assert simulation["parameters"]["n_clones"] == 8


def test_without_labelled_cells_there_is_an_empty_column(tmp_path):
    columns = Collection(np.arange(3.0), np.arange(3.0), np.full(3, -1), np.zeros(2)).columns()
    obs = pd.DataFrame(columns, index=["a", "b", "c"])
    assert obs["clone"].isna().all()
    ad.AnnData(np.zeros((3, 2)), obs=obs).write_h5ad(tmp_path / "bare.h5ad")
    assert ad.read_h5ad(tmp_path / "bare.h5ad").obs["clone"].isna().all()


@SIMULATORS
@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        ({"n_days": 1}, r"n_days=1 .*n_days=2\) or more"),
        ({"n_days": 2.5}, r"n_days=2\.5 .*or None"),
        ({"n_days": 9, "n_cells": 5}, r"n_days=9 is more than the 5 cells; .*n_cells=9"),
        ({"n_days": 4, "n_clones": 0}, r"n_clones=0 .*n_clones=1\) or more"),
        ({"n_days": 2, "n_clones": 5}, r"n_days=2 leaves clones.*n_clones=5, n_days=3"),
        ({"n_clones": 5}, r"n_days=None leaves clones.*n_clones=5, n_days=3"),
        ({"n_futures": -1}, r"n_futures=-1 .*n_futures=100"),
        ({"n_futures": 1.5}, r"n_futures=1\.5 .*n_futures=100"),
    ],
)
def test_impossible_courses_name_the_value_and_the_call(simulate, arguments, seen):
    with pytest.raises(ScnodeError, match=seen) as error:
        simulate(**arguments)
    assert f"scnode.datasets.{simulate.__name__}(" in str(error.value)
