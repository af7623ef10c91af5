import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scnode import ScnodeError
from scnode.data import Controls


@pytest.fixture
def adata():
    obs = pd.DataFrame(index=[f"c{i}" for i in range(4)])
    obs["dose"] = [0.0, 2.0, -4.0, 1.0]
    obs["stim"] = [False, True, True, False]
    obs["drug"] = pd.Categorical(["none", "b", "a", "none"], categories=["none", "b", "a", "gone"])
    obs["word"] = ["y", "x", "y", "x"]
    return ad.AnnData(np.zeros((4, 1), np.float32), obs=obs)


@pytest.mark.parametrize(
    ("key", "names", "values", "reference"),
    [
        ("dose", ["dose"], [[0], [0.5], [-1], [0.25]], "0"),
        ("stim", ["stim"], [[0], [1], [1], [0]], "0"),
        ("drug", ["drug=b", "drug=a"], [[0, 0], [1, 0], [0, 1], [0, 0]], "none"),
        ("word", ["word=y"], [[1], [0], [1], [0]], "x"),
    ],
)
def test_columns_become_inputs_that_are_zero_at_their_reference(adata, key, names, values, reference):
    controls = Controls.of(adata, key)
    assert controls.names == names
    assert [c.reference for c in controls.columns] == [reference]
    np.testing.assert_allclose(controls.read(adata), values)


def test_several_columns_stand_side_by_side_and_survive_a_record(adata):
    controls = Controls.of(adata, np.array(["drug", "dose"]))
    again = Controls.from_list(json.loads(json.dumps(controls.to_list())))
    assert again == controls
    assert again.keys == ["drug", "dose"]
    np.testing.assert_allclose(again.read(adata)[2], [0, 1, -1])
    assert [again.describe(u) for u in again.read(adata)[:2]] == ["drug=none, dose=0", "drug=b, dose=2"]


def test_new_cells_are_read_on_the_scale_of_the_fit(adata):
    controls = Controls.of(adata, ["dose", "drug"])
    np.testing.assert_allclose(controls.read(adata[[1, 0]]), [[0.5, 1, 0], [0, 0, 0]])
    adata.obs["drug"] = "other"
    with pytest.raises(ScnodeError, match=r"'other' is no level of 'drug'.*Pass one of \['none', 'b', 'a'\]"):
        controls.read(adata)


def change(column, values):
    def changed(adata):
        adata.obs[column] = values

    return changed


@pytest.mark.parametrize(
    ("key", "changed", "fix"),
    [
        ("dsoe", lambda adata: None, r"Did you mean 'dose'\? Pass control_key="),
        ("dose", change("dose", [0, np.nan, np.nan, 1]), r"missing in 2 cells.*notna\(\)\]\.copy\(\)"),
        ("dose", change("dose", [0, np.inf, 2, 1]), r"infinite in 1 cells.*isfinite"),
        ("drug", change("drug", pd.Categorical(["a", None, "b", "a"])), "missing in 1 cells"),
        ("dose", change("dose", [1, 1, 1, 1]), "same in every cell"),
        ([], lambda adata: None, "each once"),
        (["dose", "dose"], lambda adata: None, "each once"),
    ],
)
def test_what_is_no_input_is_told_with_the_mending_call(adata, key, changed, fix):
    changed(adata)
    with pytest.raises(ScnodeError, match=fix):
        Controls.of(adata, key)


@pytest.mark.parametrize("level", ["high", [1, 2], None, float("nan")])
def test_a_level_of_a_number_is_one(adata, level):
    (column,) = Controls.of(adata, "dose").columns
    with pytest.raises(ScnodeError, match="Pass such"):
        column.encode([level])
