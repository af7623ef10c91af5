import itertools

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scnode
from scnode import ScnodeError

METHODS = ("scnode", "no_motion", "ot_interpolation", "noise_floor")


@pytest.fixture
def evaluated():
    rows = [
        {"method": m, "holdout": t, "w1": i + t, "w2": 2 * i + t, "energy": 0.1 * i, "n_cells": 5}
        for t in (2.0, 4.5)
        for i, m in enumerate(METHODS)
    ]
    stored = {"time_key": "day", "table": pd.DataFrame(rows)}
    return ad.AnnData(np.zeros((2, 1)), uns={"scnode": {"evaluation": stored}})


@pytest.mark.parametrize("metric", ["w1", "w2", "energy"])
def test_bars_and_floor_are_the_figures(evaluated, metric):
    ax = scnode.pl.evaluation(evaluated, metric=metric, show=False)
    table = scnode.get.evaluation(evaluated).pivot(index="method", columns="holdout", values=metric)
    for container in ax.containers:
        np.testing.assert_allclose([bar.get_height() for bar in container], table.loc[container.get_label()])
    assert [c.get_label() for c in ax.containers] == ["scnode", "ot_interpolation", "no_motion"]
    floor = [segment[0, 1] for segment in ax.collections[0].get_segments()]
    np.testing.assert_allclose(floor, table.loc["noise_floor"])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["2", "4.5"]
    assert ax.get_xlabel() == "held-out day"


def test_bars_of_one_time_do_not_overlap(evaluated):
    ax = scnode.pl.evaluation(evaluated, show=False)
    sides = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for c in ax.containers for bar in c)
    assert all(right <= left + 1e-9 for (_, right), (left, _) in itertools.pairwise(sides))


@pytest.mark.parametrize(("options", "fix"), [({"metric": "w3"}, "w1"), ({"key_added": "b"}, r"tl\.evaluate")])
def test_errors_name_the_mending_call(evaluated, options, fix):
    with pytest.raises(ScnodeError, match=fix):
        scnode.pl.evaluation(evaluated, **options)
