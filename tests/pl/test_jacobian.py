import numpy as np
import pytest

import scnode
from scnode import ScnodeError


@pytest.fixture(scope="module")
def responding(drawn):
    return scnode.tl.jacobian(drawn, regulators=["g0", "g3"], effectors=["g1", "g2", "g4"], copy=True)


def test_the_heatmap_is_the_table_in_its_order(responding):
    ax = scnode.pl.jacobian(responding, show=False)
    shown = np.asarray(ax.images[0].get_array())
    table = scnode.get.jacobian(responding).set_index(["effector", "regulator"])["mean"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["g1", "g2", "g4"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["g0", "g3"]
    np.testing.assert_allclose(shown, table.unstack().loc[["g1", "g2", "g4"], ["g0", "g3"]], rtol=1e-5)
    low, high = ax.images[0].get_clim()
    assert low == -high
    assert ax.get_title() == "mean over all cells"


def test_a_group_has_its_own_mean(responding):
    ax = scnode.pl.jacobian(responding, group=("stage", "late"), show=False)
    rows = (responding.obs["stage"] == "late").to_numpy()
    expected = responding.uns["scnode"]["jacobian"]["values"][rows].mean(0)
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array()), expected, rtol=1e-5)
    table = scnode.get.jacobian(responding, groupby="stage")
    assert table.groupby("group")["n"].first().to_dict() == responding.obs["stage"].value_counts().to_dict()


def test_one_pair_is_drawn_by_cell(responding):
    ax = scnode.pl.jacobian(responding, pair=("g3", "g1"), show=False)
    points = max(ax.collections, key=lambda c: len(c.get_offsets()))
    values = responding.uns["scnode"]["jacobian"]["values"][:, 0, 1]
    np.testing.assert_allclose(np.sort(points.get_array()), np.sort(values), rtol=1e-5)
    assert ax.get_title() == "d rate of g1 / d g3"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": ("stage", "lat")}, "Did you mean 'late'"),
        ({"group": ("stag", "late")}, "Did you mean 'stage'"),
        ({"pair": ("g1", "g1")}, "none of the regulators"),
        ({"pair": ("g0", "g1"), "basis": "umpa"}, "Did you mean 'umap'"),
    ],
)
def test_what_is_missing_is_named(responding, options, message):
    with pytest.raises(ScnodeError, match=message):
        scnode.pl.jacobian(responding, show=False, **options)


def test_without_a_jacobian_the_call_is_named(drawn):
    for options in ({}, {"pair": ("g0", "g1")}):
        with pytest.raises(ScnodeError, match=r"scnode\.tl\.jacobian"):
            scnode.pl.jacobian(drawn, show=False, **options)
