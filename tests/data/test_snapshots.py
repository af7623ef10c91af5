import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scnode
from scnode import EvidenceError, ScnodeError
from scnode.data import read_snapshots, warn_of_confounded_batches

DAYS = [3.0, 1.0, 1.0, 7.0, 3.0, 7.0, 1.0]


def cells(days, **columns):
    obs = pd.DataFrame({"day": days, **columns}, index=[f"c{i}" for i in range(len(days))])
    return ad.AnnData(obs=obs)


def test_the_clock_keeps_the_real_spacing():
    found = read_snapshots(cells(DAYS), "day")
    assert (found.key, found.unit, found.origin, found.span) == ("day", "unknown", 1.0, 6.0)
    np.testing.assert_allclose(found.times, [0, 1 / 3, 1])
    np.testing.assert_allclose(found.clock, (np.array(DAYS) - 1) / 6)
    np.testing.assert_array_equal(found.number, [1, 0, 0, 2, 1, 2, 0])
    assert found.seen.all()


@pytest.mark.parametrize("convert", [list, pd.Categorical], ids=["text", "categories"])
def test_labels_are_read_with_their_unit(convert):
    found = read_snapshots(cells(convert([f"E{d:g}" for d in DAYS])), "day")
    assert found.unit == "day"
    np.testing.assert_array_equal(found.days, DAYS)
    np.testing.assert_array_equal(found.kept, [1, 3, 7])


@pytest.mark.parametrize(
    ("holdout", "origin", "times", "number"),
    [
        ([3], 1.0, [0, 1], [-1, 0, 0, 1, -1, 1, 0]),
        ((1.0,), 3.0, [0, 1], [0, -1, -1, 1, 0, 1, -1]),
        ([7], 1.0, [0, 1], [1, 0, 0, -1, 1, -1, 0]),
        ([], 1.0, [0, 1 / 3, 1], [1, 0, 0, 2, 1, 2, 0]),
    ],
)
def test_times_held_out_are_off_the_clock_of_the_fit(holdout, origin, times, number):
    found = read_snapshots(cells(DAYS), "day", holdout=holdout)
    assert found.origin == origin
    np.testing.assert_allclose(found.times, times)
    np.testing.assert_array_equal(found.number, number)
    np.testing.assert_array_equal(found.seen, np.array(number) >= 0)
    # Cells held out have their place on the clock all the same, beyond 0 and 1 where they were first or last.
    np.testing.assert_allclose(found.clock, (np.array(DAYS) - origin) / found.span)
    alone = found.of_seen()
    assert alone.seen.all()
    np.testing.assert_array_equal(alone.number, found.number[found.seen])


def test_a_single_cell_at_a_time_held_out_is_no_harm():
    assert read_snapshots(cells([1, 1, 2, 3, 3]), "day", holdout=[2]).kept.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("days", "holdout", "fix"),
    [
        ([1, 1, 2, 3, 3], None, r"fewer than 2 cells at 1 of 3 times \(first: \[2.0\]\).*pseudotime_key='day'"),
        ([1, 1, 1], None, r"leaves 1 time point to fit to: \[1.0\].*pass a time_key="),
        (DAYS, [1, 7], r"leaves 1 time point to fit to: \[3.0\].*hold out fewer"),
        (DAYS, [1, 3, 7], r"leaves 0 time point"),
        (DAYS, [2], r"holdout=\[2\] are no times of adata.obs\['day'\]: \[1.0, 3.0, 7.0\]. Pass those"),
        (DAYS, ["E3"], r"holdout=\['E3'\] are no times of adata.obs\['day'\]: \[1.0, 3.0, 7.0\]. Pass those"),
        ([1.0, 1.0, np.inf, 2.0, -np.inf, 2.0], None, r"infinite in 2 cells. Drop them"),
        ([1.0, 1.0, np.nan, 2.0, 2.0], None, r"missing in 1 cells. Drop them"),
        (["E8", "E8", None, "E9", "E9"], None, r"missing in 1 cells. Drop them"),
        (["E8", "E8-9", "late", "E9"], None, r"2 labels in 2 cells that are no times: \['E8-9', 'late'\]. Map them"),
        (["8", "8", "E9", "E9"], None, r"without a unit \(without: \['8'\]\). Give every label its unit"),
    ],
)
def test_days_that_are_no_time_course(days, holdout, fix):
    with pytest.raises(ScnodeError, match=fix):
        read_snapshots(cells(days), "day", holdout=holdout)


def test_a_column_that_is_not_there():
    with pytest.raises(EvidenceError, match=r"Did you mean 'day'\? Pass time_key="):
        read_snapshots(cells(DAYS), "dya")


@pytest.mark.parametrize(
    ("batch", "told"),
    [(["b", "a", "a", "c", "b", "c", "a"], True), (["b", "a", "b", "c", "b", "c", "a"], False), (["a"] * 7, False)],
    ids=["a batch a day", "one batch of two days", "one batch"],
)
def test_batches_that_are_days_are_named(batch, told, caplog):
    adata = cells(DAYS, lane=pd.Categorical(batch, categories=["a", "b", "c", "unused"]))
    with scnode.settings.override(verbosity=1), caplog.at_level(logging.WARNING, logger="scnode"):
        warn_of_confounded_batches(adata, read_snapshots(adata, "day"), "lane")
    assert bool(caplog.records) == told
    if told:
        assert "obs['lane'] was collected at one time of obs['day']" in caplog.text
