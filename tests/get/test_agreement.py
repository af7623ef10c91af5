import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scnode
from scnode import ScnodeError

PAIRS = {
    "time|velocity": np.array([1.0, -0.5, np.nan, 0.25, np.nan]),
    "time|fit": np.array([0.5, 0.5, 1.0, 1.0, np.nan]),
    "velocity|fit": np.full(5, np.nan),
}


@pytest.fixture
def told():
    obs = pd.DataFrame({"type": ["b", "a", "b", None, "a"]}, index=[f"c{i}" for i in range(5)])
    obs["type"] = obs["type"].astype(pd.CategoricalDtype(["b", "a", "unused"]))
    return ad.AnnData(np.zeros((5, 1)), obs=obs, uns={"scnode": {"report": {"agreement": PAIRS}}})


def test_means_are_over_the_cells_where_both_speak(told):
    table = scnode.get.agreement(told)
    assert list(table) == ["first", "second", "group", "mean", "n"]
    assert table[["first", "second", "group"]].to_numpy().tolist() == [
        ["time", "fit", "all"],
        ["time", "velocity", "all"],
        ["velocity", "fit", "all"],
    ]
    np.testing.assert_allclose(table["mean"], [0.75, 0.25, np.nan])
    assert table["n"].tolist() == [4, 3, 0]


def test_groups_have_rows_of_their_own(told):
    table = scnode.get.agreement(told, groupby="type").set_index(["first", "second", "group"])
    assert table.index.get_level_values("group").unique().tolist() == ["a", "b"]
    assert table.loc[("time", "velocity", "a")].tolist() == [-0.5, 1]
    assert table.loc[("time", "velocity", "b")].tolist() == [1.0, 1]
    assert table.loc[("time", "fit", "a")].tolist() == [0.5, 1]
    assert table.loc[("time", "fit", "b")].tolist() == [0.75, 2]
    assert len(table) == 6


def test_numbers_and_text_are_groups_as_well(told):
    told.obs["day"] = [10, 2, 10, 2, 2]
    assert scnode.get.agreement(told, groupby="day")["group"].tolist() == ["2", "10"] * 3
    told.obs["type"] = told.obs["type"].astype(object)
    assert scnode.get.agreement(told, groupby="type")["group"].tolist() == ["a", "b"] * 3


def test_the_table_is_of_the_fit_that_was_stored(fitted, tmp_path):
    table = scnode.get.agreement(fitted)
    assert table[["first", "second", "n"]].to_numpy().tolist() == [["pseudotime", "fit", 200]]
    assert table["mean"][0] == pytest.approx(fitted.obs["scnode_agreement_pseudotime"].mean())
    assert table["mean"][0] > 0.9
    fitted.write_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(scnode.get.agreement(ad.read_h5ad(tmp_path / "a.h5ad")), table)


@pytest.mark.parametrize(
    ("options", "fix"),
    [({"key_added": "other"}, r"Run scnode.tl.fit\(adata\) first"), ({"groupby": "tpye"}, "Did you mean 'type'")],
)
def test_what_is_missing_is_named(told, options, fix):
    with pytest.raises(ScnodeError, match=fix):
        scnode.get.agreement(told, **options)


def test_a_part_of_the_cells_is_not_the_fit(told):
    with pytest.raises(ScnodeError, match=r"had 5 cells, adata has 3. Pass the object of the fit"):
        scnode.get.agreement(told[:3])
