import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.quiver import Quiver

import scnode
from scnode import ScnodeError

BOTH = pytest.mark.parametrize("plot", [scnode.pl.velocity_embedding_stream, scnode.pl.velocity_embedding_grid])


def first(ax, kind):
    return next(c for c in ax.collections if isinstance(c, kind))


@BOTH
def test_draws_on_the_axes_given_and_leaves_adata(drawn, plot):
    before, uns = drawn.obs.copy(), set(drawn.uns)
    ax = plt.figure().add_subplot()
    assert plot(drawn, color="stage", ax=ax, show=False, title="flow") is ax
    assert ax.get_title() == "flow"
    assert ax.get_xlabel() == "UMAP1"
    cells = first(ax, PathCollection)
    assert cells.get_rasterized()
    assert {to_hex(c) for c in cells.get_facecolors()} == {"#112233", "#445566"}
    assert drawn.obs.equals(before)
    assert set(drawn.uns) == uns


@BOTH
def test_gives_the_figure_on_request(drawn, plot):
    figure = plot(drawn, color="g0", return_fig=True)
    assert isinstance(figure, plt.Figure)


def test_arrows_point_along_the_curve_and_stay_on_cells(drawn):
    ax = scnode.pl.velocity_embedding_grid(drawn, show=False)
    arrows = first(ax, Quiver)
    tails = np.stack([arrows.X, arrows.Y], axis=1)
    slope = np.stack([np.ones(len(tails)), 2 * tails[:, 0]], axis=1)
    assert scnode.metrics.cosine(np.stack([arrows.U, arrows.V], axis=1), slope).mean() > 0.9
    cells = drawn.obsm["X_umap"]
    assert np.linalg.norm(tails[:, None] - cells, axis=2).min(1).max() < 0.06


@pytest.mark.parametrize("kind", ["stream", "grid"])
def test_opacity_falls_with_disagreement(drawn, kind):
    opacity = []
    for factor in (0.1, 10.0):
        adata = drawn.copy()
        adata.obs["scnode_velocity_sd"] = factor * np.linalg.norm(adata.obsm["velocity_scnode"], axis=1)
        if kind == "grid":
            ax = scnode.pl.velocity_embedding_grid(adata, show=False)
            colours = first(ax, Quiver).get_facecolors()
        else:
            ax = scnode.pl.velocity_embedding_stream(adata, show=False)
            lines = first(ax, LineCollection)
            lines.update_scalarmappable()
            colours = lines.get_colors()
        opacity.append(colours[:, 3].mean())
    assert opacity[0] > 0.95
    assert opacity[1] < 0.2


@BOTH
@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"basis": "umpa"}, "Did you mean 'umap'"),
        ({"basis": "scnode"}, "scnode.tl.velocity"),
        ({"color": "stages"}, "Did you mean 'stage'"),
    ],
)
def test_errors_name_the_mending_call(drawn, plot, options, fix):
    with pytest.raises(ScnodeError, match=fix):
        plot(drawn, **options)


def test_arrows_fade_where_the_score_is_high(drawn):
    adata = drawn.copy()
    late = (adata.obs["pseudotime"] > 0.5).to_numpy()
    adata.obs["scnode_ood"] = late.astype(float)
    ax = scnode.pl.velocity_embedding_grid(adata, show=False)
    arrows = next(c for c in ax.collections if type(c).__name__ == "Quiver")
    alpha, x = arrows.get_facecolor()[:, 3], arrows.X
    assert alpha[x < 0.3].min() > 0.9
    assert alpha[x > 0.7].max() < 0.2
