import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scnode import ScnodeError
from scnode.data import read_batches


@pytest.fixture
def cells():
    obs = pd.DataFrame({"lane": pd.Categorical(["b", "a", "b", "a"])}, index=[*"wxyz"])
    return ad.AnnData(np.ones((4, 2)), obs=obs)


def test_batches_are_numbered_by_name(cells):
    batches = read_batches(cells, "lane")
    assert batches.names == ("a", "b")
    assert batches.code.tolist() == [1, 0, 1, 0]
    assert batches.apart is batches.code
    assert read_batches(cells[:1], "lane").apart is None


def test_known_batches_keep_their_numbers(cells):
    assert read_batches(cells[cells.obs["lane"] == "b"], "lane", known=["a", "b"]).code.tolist() == [1, 1]
    with pytest.raises(ScnodeError, match=r"holds \['b'\].*It knows \['a', 'c'\]: refit"):
        read_batches(cells, "lane", known=["a", "c"])


def test_numbers_are_names(cells):
    cells.obs["day"] = [10, 9, 10, 9]
    assert read_batches(cells, "day").names == ("10", "9")


def test_unusable_columns_are_told(cells):
    with pytest.raises(ScnodeError, match="Did you mean 'lane'"):
        read_batches(cells, "lanes")
    cells.obs["lane"] = cells.obs["lane"].where(cells.obs_names != "w")
    with pytest.raises(ScnodeError, match="missing in 1 cells"):
        read_batches(cells, "lane")
