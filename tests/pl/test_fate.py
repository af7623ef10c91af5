import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import scnode
from scnode import ScnodeError


@pytest.fixture(scope="module")
def fated(drawn):
    adata = drawn.copy()
    time = adata.obs["pseudotime"]
    adata.obs["end"] = pd.Categorical(np.where(time > 0.9, "late", np.where(time < 0.1, "early", None)))
    adata.uns["end_colors"] = ["#112233", "#445566"]
    scnode.tl.fate(adata, groupby="end")
    return adata


def test_bars_are_the_means_of_each_group_and_fill_the_axis(fated):
    bars, cells = scnode.pl.fate(fated, groupby="stage", show=False)
    labels = [text.get_text() for text in bars.get_yticklabels()]
    assert labels == ["late", "early"]
    widths = np.array([[bar.get_width() for bar in container] for container in bars.containers])
    np.testing.assert_allclose(widths.sum(0), 1)
    means = fated.obsm["scnode_fate"].groupby(fated.obs["stage"].to_numpy(str)).mean()
    np.testing.assert_allclose(widths, means.loc[labels].T)
    assert cells.get_title() == "early probability"
    assert bars.get_xlim() == (0, 1)


def test_cells_are_coloured_by_the_chosen_fate(fated):
    _, cells = scnode.pl.fate(fated, color="late", show=False)
    points = max(cells.collections, key=lambda c: len(c.get_offsets()))
    shown = dict(zip(map(tuple, np.round(points.get_offsets(), 6)), points.get_array(), strict=True))
    position = np.round(fated.obsm["X_umap"], 6)
    expected = fated.obsm["scnode_fate"]["late"].to_numpy()
    np.testing.assert_allclose([shown[tuple(p)] for p in position], expected, atol=1e-6)
    assert points.get_clim() == (0, 1)
    assert points.get_rasterized()


def test_cells_without_a_group_and_colours_of_the_groups(fated):
    bars, _ = scnode.pl.fate(fated, show=False)
    assert [t.get_text() for t in bars.get_yticklabels()] == ["late", "unassigned", "early"]
    assert [to_hex(c.patches[0].get_facecolor()) for c in bars.containers] == ["#112233", "#445566"]
    bars, _ = scnode.pl.fate(fated, palette=["red", "blue"], show=False)
    assert to_hex(bars.containers[0].patches[0].get_facecolor()) == "#ff0000"


def test_given_axes_are_used(fated):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2)
    assert scnode.pl.fate(fated, ax=axes, title="a", return_fig=True) is figure
    assert axes[0].get_title() == "a"


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"color": "lat"}, "Did you mean 'late'"),
        ({"groupby": "stages"}, "Did you mean 'stage'"),
        ({"basis": "tsn"}, "basis="),
        ({"palette": ["red"]}, "one for each"),
        ({"key_added": "b"}, "tl.fate"),
    ],
)
def test_errors_name_the_mending_call(fated, options, fix):
    with pytest.raises(ScnodeError, match=fix):
        scnode.pl.fate(fated, **options)
