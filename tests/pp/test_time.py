import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scnode
from scnode import ScnodeError


def cells(labels, **options):
    return ad.AnnData(
        obs=pd.DataFrame({"label": pd.Series(labels, **options).to_numpy()}, index=[*map(str, range(len(labels)))])
    )


@pytest.mark.parametrize(
    ("labels", "times", "unit"),
    [
        (["E8.5", "E9", "E15.5"], [8.5, 9, 15.5], "day"),
        (["48h", "0 hr", "6 hours"], [48, 0, 6], "h"),
        (["day 3", "Day_7", "D0"], [3, 7, 0], "day"),
        (["30 min", "300_minutes"], [30, 300], "min"),
        (["t=6h", "t 12 h"], [6, 12], "h"),
        (["24h", "3d"], [1, 3], "day"),
        (["2 weeks", "7 d"], [2, 1], "week"),
        (["0", "1.5"], [0, 1.5], "unknown"),
    ],
)
def test_labels(labels, times, unit):
    adata = cells(labels)
    scnode.pp.time(adata, "label")
    np.testing.assert_allclose(adata.obs["time"], times)
    assert adata.uns["time_unit"] == unit


def test_categories_a_wanted_unit_and_a_copy():
    adata = cells(["1d", "12h", "1d"])
    adata.obs["label"] = adata.obs["label"].astype("category")
    out = scnode.pp.time(adata, "label", unit="h", key_added="hours", copy=True)
    np.testing.assert_allclose(out.obs["hours"], [24, 12, 24])
    assert list(adata.obs) == ["label"]
    assert not adata.uns


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=5))
def test_numbers_are_taken_as_they_are(values):
    adata = cells(values)
    scnode.pp.time(adata, "label", unit="min")
    np.testing.assert_array_equal(adata.obs["time"], values)
    assert adata.uns["time_unit"] == "min"


@pytest.mark.parametrize(
    ("labels", "options", "fix"),
    [
        (["mixed", "300 min"], {}, r"\['mixed'\]. Map them"),
        (["E8.5-E9", "E7"], {}, "Map them"),
        (["3", "4h"], {}, "Give every label its unit"),
        (["3h", None], {}, "missing in 1 cells"),
        (["3h"], {"unit": "fortnight"}, "Pass one of"),
    ],
)
def test_errors_name_the_labels_and_leave_adata(labels, options, fix):
    adata = cells(labels, dtype=object)
    with pytest.raises(ScnodeError, match=fix):
        scnode.pp.time(adata, "label", **options)
    assert list(adata.obs) == ["label"]
    with pytest.raises(ScnodeError, match="Did you mean 'label'"):
        scnode.pp.time(adata, "lable")
