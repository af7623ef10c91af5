"""What holds for every plot."""

import inspect

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

import scnode
from scnode import ScnodeError
from scnode.pl._colors import SAFE, category_colors

FILM = "animate"
PLOTS = sorted(set(scnode.pl.__all__) - {FILM})
OPTIONS = {
    "velocity_embedding_stream": {"color": "stage"},
    "velocity_embedding_grid": {"color": "stage"},
    "perturbation": {"name": "low", "kind": "trajectories"},
}


@pytest.fixture(scope="module")
def whole(drawn):
    """Cells with everything that plots read."""
    adata = drawn.copy()
    late = adata.obs["pseudotime"].to_numpy()
    adata.obs["end"] = pd.Categorical(np.where(late > 0.9, "late", np.where(late < 0.1, "early", None)))
    scnode.tl.fate(adata, groupby="end")
    scnode.tl.jacobian(adata, regulators=["g0"], effectors=["g1"])
    scnode.tl.ftle(adata)
    scnode.tl.perturb(adata, {"g0": 0.5}, name="low", n_null=0)
    scnode.tl.screen(adata, groupby="stage", groups=["early", "late"], n_verified=2)
    scnode.tl.attribution(adata, groupby="stage", groups=["early", "late"], n_steps=4)
    methods = ("scnode", "no_motion", "ot_interpolation", "noise_floor")
    rows = [{"method": m, "holdout": 1.0, "w1": 1.0, "w2": 1.0, "energy": 1.0} for m in methods]
    adata.uns["scnode"] = {**adata.uns["scnode"], "evaluation": {"time_key": "day", "table": pd.DataFrame(rows)}}
    return adata


def draw(adata, name, **options):
    return getattr(scnode.pl, name)(adata, **OPTIONS.get(name, {}), **options)


@pytest.mark.parametrize("name", PLOTS)
def test_doors_are_alike(name):
    given = inspect.signature(getattr(scnode.pl, name)).parameters
    assert {"adata", "ax", "title", "show", "return_fig", "key_added", "kwargs"} <= set(given)
    assert given["show"].default is None
    assert given["return_fig"].default is False


@pytest.mark.parametrize("name", PLOTS)
def test_a_figure_is_given_and_nothing_written(whole, name):
    before = set(whole.uns), set(whole.obs), set(whole.obsm)
    figure = draw(whole, name, return_fig=True, title="a title")
    assert isinstance(figure, mpl.figure.Figure)
    assert "a title" in {ax.get_title() for ax in figure.axes}
    assert (set(whole.uns), set(whole.obs), set(whole.obsm)) == before


@pytest.mark.parametrize("name", PLOTS)
def test_axes_given_are_used(whole, name):
    given = plt.subplots(1, 2)[1]
    two = name == "fate"
    drawn_on = draw(whole, name, ax=given if two else given[0], show=False)
    assert tuple(drawn_on) == tuple(given) if two else drawn_on is given[0]
    assert plt.get_fignums() == [1]


@pytest.mark.parametrize("name", PLOTS)
def test_cells_are_rasterised(whole, name):
    figure = draw(whole, name, return_fig=True)
    clouds = [c for ax in figure.axes for c in ax.collections if isinstance(c, PathCollection)]
    assert all(c.get_rasterized() for c in clouds if len(c.get_offsets()) >= whole.n_obs)


def test_text_stays_text_unless_the_user_chose_otherwise(whole, tmp_path):
    with mpl.rc_context({"pdf.fonttype": 3, "svg.fonttype": "path"}):
        draw(whole, "history", return_fig=True).savefig(tmp_path / "loss.svg")
        assert ">epoch</text>" in (tmp_path / "loss.svg").read_text()
        draw(whole, "history", return_fig=True).savefig(tmp_path / "loss.pdf")
        assert b"/Type3" not in (tmp_path / "loss.pdf").read_bytes()
    with mpl.rc_context({"svg.hashsalt": "a", "pdf.fonttype": 42}):
        draw(whole, "history", return_fig=True)
        assert mpl.rcParams["pdf.fonttype"] == 42


def test_colours_are_those_of_the_data_else_safe(whole):
    ax = scnode.pl.velocity_embedding_stream(whole, color="end", show=False)
    assert {to_hex(c) for c in ax.collections[0].get_facecolors()[:, :3]} <= {*SAFE[:2], "#d3d3d3"}
    assert category_colors(whole, "stage", ["late"]) == ["#445566"]
    assert category_colors(whole, "end", ["late"]) == [SAFE[1]]
    assert category_colors(whole, "end", ["early"], palette=["red", "blue"]) == ["red"]
    assert len(set(category_colors(whole, "end", [str(i) for i in range(20)]))) == 20
    assert len(category_colors(whole, "end", [str(i) for i in range(300)])) == 300


def spoilt(record):
    """The record as something else, without each of its entries, and with each as something else."""
    yield from (3, np.array([None, 1], dtype=object))
    for name in record:
        rest = [key for key in record if key != name]
        yield record[rest] if isinstance(record, pd.DataFrame) else {key: record[key] for key in rest}
        for other in ("text", np.zeros(3)):
            yield {**record, name: other}


RESULTS = {name: name for name in PLOTS if not name.startswith("velocity")} | {FILM: "trajectories"}


@pytest.mark.parametrize(("name", "result"), RESULTS.items())
def test_damaged_results_are_told_in_words(whole, name, result):
    record = whole.uns["scnode"]["perturbations"]["low"] if result == "perturbation" else whole.uns["scnode"][result]
    refused, options = 0, {} if name == FILM else {"show": False}
    for other in spoilt(record):
        adata = whole.copy()
        kept = {"perturbations": {"low": other}} if result == "perturbation" else {result: other}
        adata.uns["scnode"] = {**adata.uns["scnode"], **kept}
        try:
            draw(adata, name, **options)
        except ScnodeError:
            refused += 1
        plt.close("all")
    assert refused > 2
