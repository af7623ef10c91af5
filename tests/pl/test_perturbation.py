import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.legend import Legend

import scnode
from scnode import ScnodeError


@pytest.fixture(scope="module")
def perturbed(drawn):
    adata = drawn.copy()
    scnode.tl.perturb(adata, {"g2": 0.5}, groupby="stage", name="low")
    return adata


def table(adata):
    return scnode.get.perturbation(adata, "low").set_index("fate")


def test_bars_are_the_fold_changes_in_the_colours_of_the_groups(perturbed):
    ax = scnode.pl.perturbation(perturbed, "low", show=False)
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == ["late", "early"]
    expected = table(perturbed).loc[labels]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], expected["log_fold_change"])
    assert [to_hex(bar.get_edgecolor()) for bar in ax.patches] == ["#445566", "#112233"]
    np.testing.assert_allclose([bar.get_facecolor()[3] for bar in ax.patches], np.clip(1 - expected["ood"], 0.2, 1))
    segments = ax.collections[0].get_segments()
    np.testing.assert_allclose([s[1, 0] for s in segments], expected[["log_fold_change", "ci_high"]].max(axis=1))
    assert [t.get_text() for t in ax.texts] == [f"q = {q:.2g}" for q in expected["qvalue"]]
    assert ax.get_title() == "low"


def test_arrows_point_where_the_difference_does(perturbed):
    """A difference along the curve of the cells leads to later places, and its opposite to earlier ones."""
    adata = perturbed.copy()
    latent = adata.obsm["X_scnode"].astype(float)
    later = np.gradient(latent, axis=0)
    for sign in (1, -1):
        adata.obsm["velocity_scnode_low_difference"] = sign * later / np.linalg.norm(later, axis=1, keepdims=True)
        ax = scnode.pl.perturbation(adata, "low", kind="field", show=False)
        arrows = next(c for c in ax.collections if type(c).__name__ == "Quiver")
        assert (np.sign(arrows.U) == sign).mean() > 0.9


def test_both_arms_are_drawn_from_the_same_places(perturbed):
    ax = scnode.pl.perturbation(perturbed, "low", kind="trajectories", n_trajectories=5, color="stage", show=False)
    lines = [c for c in ax.collections if type(c).__name__ == "LineCollection"]
    assert [len(c.get_segments()) for c in lines] == [5 * 16, 5 * 16]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["early", "late"]
    legend = next(part for part in ax.artists if isinstance(part, Legend))
    assert [text.get_text() for text in legend.get_texts()] == ["control", "perturbed"]
    assert all(points.get_rasterized() for points in ax.collections[:1])


def test_curves_are_the_responses(perturbed):
    ax = scnode.pl.perturbation(perturbed, "low", kind="expression", genes=["g2", "g7"], show=False)
    rows = scnode.get.response(perturbed, "low", genes=["g2", "g7"])
    dashed, solid = ax.lines[::2], ax.lines[1::2]
    for gene, control, one in zip(["g2", "g7"], dashed, solid, strict=True):
        expected = rows[rows["gene"] == gene]
        np.testing.assert_allclose(control.get_ydata(), expected["control"], rtol=1e-6)
        np.testing.assert_allclose(one.get_ydata(), expected["perturbed"], rtol=1e-6)
    default = scnode.pl.perturbation(perturbed, "low", kind="expression", show=False)
    assert len(default.lines) == 2 * 6
    assert default.lines[1].get_label() == "g2"


def test_given_axes_are_used_and_nothing_is_written(perturbed):
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    before = set(perturbed.uns), set(perturbed.obsm)
    assert scnode.pl.perturbation(perturbed, "low", ax=ax, title="a", return_fig=True) is figure
    assert ax.get_title() == "a"
    assert (set(perturbed.uns), set(perturbed.obsm)) == before


@pytest.mark.parametrize(
    ("name", "options", "fix"),
    [
        ("lo", {}, "Did you mean 'low'"),
        ("low", {"kind": "fate"}, "Did you mean 'fates'"),
        ("low", {"kind": "expression", "genes": ["G2"]}, "Did you mean 'g2'"),
        ("low", {"kind": "field", "basis": "tsn"}, "basis="),
        ("low", {"kind": "trajectories", "color": "stages"}, "Did you mean 'stage'"),
        ("bare", {}, "has no fates"),
    ],
)
def test_errors_name_the_mending_call(perturbed, name, options, fix):
    record = perturbed.uns["scnode"]["perturbations"]
    record["bare"] = {key: value for key, value in record["low"].items() if key != "fates"}
    with pytest.raises(ScnodeError, match=fix):
        scnode.pl.perturbation(perturbed, name, **options)
