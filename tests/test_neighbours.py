"""Other tools read what scnode writes, and scnode what they write, with the versions that pip gives."""

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import scnode
from scnode.metrics import cosine

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cells():
    """A bifurcation with true fates, every tool's keys on it."""
    adata = scnode.datasets.bifurcation(n_cells=400, n_genes=40, n_futures=2, rng=1)
    scnode.pp.velocity(adata)
    fates = list(adata.obsm["true_fate_probability"])
    late = adata.obs["true_time"] > adata.obs["true_time"].quantile(0.75)
    adata.obs["end"] = adata.obs["clusters"].astype(object).where(adata.obs["clusters"].isin(fates) & late)
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(adata, n_latent=6, n_members=2, max_epochs=20)
        adata.obsm["X_umap"] = adata.obsm["X_scnode"][:, :2].astype(float)
        scnode.tl.velocity(adata, basis="umap", genes=True)
        scnode.tl.transition_matrix(adata)
        scnode.tl.fate(adata, groupby="end", groups=fates)
        scnode.tl.jacobian(adata)
        scnode.tl.stiffness(adata)
        scnode.tl.trajectories(adata, n_steps=5)
    return adata


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_scanpy_draws_every_column_on_every_representation(cells):
    import scanpy as sc

    columns = [key for key in cells.obs if key.startswith("scnode_")]
    assert len(columns) > 6
    for basis in ("umap", "scnode"):
        axes = sc.pl.embedding(cells, basis=basis, color=columns, show=False)
        assert all(axis.collections for axis in axes)


def test_scvelo_draws_the_velocity(cells):
    import scvelo as scv

    for draw in (scv.pl.velocity_embedding_stream, scv.pl.velocity_embedding_grid, scv.pl.velocity_embedding):
        axis = draw(cells.copy(), vkey="velocity_scnode", basis="umap", color="clusters", show=False)
        assert axis.has_data()


def test_scvelo_makes_a_graph_of_the_velocity_whose_arrows_are_ours(cells):
    import scanpy as sc
    import scvelo as scv

    work = cells.copy()
    sc.pp.neighbors(work, use_rep="X_scnode", transformer="sklearn")
    scv.tl.velocity_graph(work, vkey="velocity_scnode", show_progress_bar=False)
    assert work.uns["velocity_scnode_graph"].nnz > 400
    scv.tl.velocity_embedding(work, vkey="velocity_scnode", basis="umap", autoscale=False)
    theirs, ours = work.obsm["velocity_scnode_umap"], cells.obsm["velocity_scnode_umap"]
    moving = np.linalg.norm(ours, axis=1) > np.median(np.linalg.norm(ours, axis=1))
    assert cosine(theirs, ours)[moving].mean() > 0.7
    scv.tl.velocity_pseudotime(work, vkey="velocity_scnode")
    rank = work.obs[["velocity_scnode_pseudotime", "true_time"]].corr("spearman").iloc[0, 1]
    assert rank > 0.6


def test_cellrank_absorbs_where_fates_are(cells):
    cellrank = pytest.importorskip("cellrank")
    fates = list(cells.obsm["scnode_fate"])
    kernel = cellrank.kernels.PrecomputedKernel(cells.obsp["T_fwd"], adata=cells.copy())
    estimator = cellrank.estimators.GPCCA(kernel)
    estimator.compute_schur(n_components=10, method="brandts")
    estimator.compute_macrostates(n_states=3)
    estimator.set_terminal_states({fate: cells.obs_names[cells.obs["end"] == fate].tolist() for fate in fates})
    estimator.compute_fate_probabilities()
    absorbed = np.asarray(estimator.fate_probabilities[fates].X)
    np.testing.assert_allclose(absorbed.sum(1), 1, atol=1e-5)
    live = cells.obs["end"].isna().to_numpy()
    ours = cells.obsm["scnode_fate"].to_numpy()
    assert np.corrcoef(absorbed[live, 0], ours[live, 0])[0, 1] > 0.9


class Solved:
    """What moscot gives for a pair of days: a dense plan, here of jax where there is one."""

    def __init__(self, plan):
        self.transport_matrix = plan


def gathered(adata, solutions, key):
    """The recipe of the user guide."""
    blocks = sp.lil_matrix((adata.n_obs, adata.n_obs))
    for (start, end), solved in solutions.items():
        rows, columns = (np.flatnonzero(adata.obs[key] == day) for day in (start, end))
        blocks[np.ix_(rows, columns)] = np.asarray(solved.transport_matrix)
    return blocks.tocsr()


@pytest.fixture
def course():
    """Two lanes on three days, in an order that says nothing of the days; the upper lane multiplies."""
    rng = np.random.default_rng(0)
    day = np.repeat([0.0, 1.0, 2.0], 80)
    upper = np.concatenate([np.arange(80) < n for n in (40, 60, 70)])
    states = np.stack([day + rng.uniform(0, 0.5, 240), np.where(upper, 1.0, -1.0)], axis=1)
    order = rng.permutation(240)
    obs = pd.DataFrame({"day": day[order], "upper": upper[order]}, index=[f"c{i}" for i in range(240)])
    states = states + rng.normal(0, 0.05, states.shape)
    return ad.AnnData(np.zeros((240, 1), np.float32), obs=obs, obsm={"X_plane": states[order]})


FAST = {"use_rep": "X_plane", "time_key": "day", "n_members": 1, "max_epochs": 2, "coupling_key": "moscot"}


def climb(adata):
    """How fast cells change lanes by the evidence."""
    return np.abs(adata.obsm["scnode_evidence"][:, 1]).mean()


def test_plans_of_pairs_of_days_are_evidence(course):
    solutions = {}
    for start in (0.0, 1.0):
        a, b = (course.obs["upper"][course.obs["day"] == day].to_numpy() for day in (start, start + 1))
        solutions[start, start + 1] = Solved((a[:, None] == b) / 80)
    course.obsp["moscot"] = gathered(course, solutions, "day")
    scnode.tl.fit(course, **FAST)
    assert climb(course) < 0.1
    # A row-stochastic matrix with cells that stay, as CellRank's RealTimeKernel makes of moscot's plans.
    kernel = course.obsp["moscot"] + sp.diags((course.obs["day"] == 2).to_numpy(dtype=float))
    again = course.copy()
    again.obsp["moscot"] = sp.diags(1 / np.asarray(kernel.sum(1)).ravel()) @ kernel
    scnode.tl.fit(again, **FAST)
    np.testing.assert_allclose(again.obsm["scnode_evidence"], course.obsm["scnode_evidence"], atol=1e-5)


@pytest.mark.slow
def test_moscot_is_evidence_of_motion_and_growth(course):
    problems = pytest.importorskip("moscot.problems.time")
    problem = problems.TemporalProblem(course).prepare(time_key="day", joint_attr="X_plane")
    problem = problem.solve(epsilon=0.01, tau_a=0.9, tau_b=1.0)
    course.obsp["moscot"] = gathered(course, problem.solutions, "day")
    scnode.tl.fit(course, **FAST, unbalanced=True)
    assert climb(course) < 0.2
    early = course.obs["day"] == 0
    mean = course.obs[early].groupby("upper")["scnode_growth"].mean()
    np.testing.assert_allclose(mean[True] - mean[False], np.log(3), atol=0.5)


def test_a_latent_of_another_tool_has_genes_by_a_linear_decoder(cells):
    """What scVI leaves in obsm: a latent that is no projection of the genes."""
    log = np.log1p(cells.layers["spliced"].toarray())
    scores = np.linalg.svd(log - log.mean(0), full_matrices=False)[0][:, :5] * 10
    adata = ad.AnnData(cells.layers["spliced"].copy(), obs=cells.obs[["true_time"]].copy(), var=cells.var[[]].copy())
    adata.obsm["X_scVI"] = np.tanh(scores).astype(np.float32)
    decoded(adata)


@pytest.mark.slow
def test_scvi_gives_the_latent(cells):
    scvi = pytest.importorskip("scvi")
    adata = ad.AnnData(cells.layers["spliced"].copy(), obs=cells.obs[["true_time"]].copy(), var=cells.var[[]].copy())
    scvi.settings.seed = 0
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata, n_latent=5)
    model.train(max_epochs=20, accelerator="cpu", enable_progress_bar=False)
    adata.obsm["X_scVI"] = model.get_latent_representation()
    decoded(adata)


def decoded(adata):
    keys = {"use_rep": "X_scVI", "decoder": "linear", "pseudotime_key": "true_time"}
    scnode.tl.fit(adata, **keys, n_members=1, max_epochs=10)
    assert adata.uns["scnode"]["report"]["decoder"]["explained_variance"] > 0.1
    scnode.tl.trajectories(adata, n_steps=5)
    paths = scnode.get.trajectories(adata)
    assert paths.n_vars == adata.n_vars
    assert np.isfinite(paths.X).all()
    scnode.tl.velocity(adata, genes=True)
    assert np.isfinite(adata.layers["velocity_scnode"]).all()


@pytest.mark.parametrize("form", ["zarr", "h5ad"])
def test_everything_written_survives_the_file(cells, tmp_path, form):
    getattr(cells, f"write_{form}")(tmp_path / f"cells.{form}")
    read = getattr(ad, f"read_{form}")(tmp_path / f"cells.{form}")
    for part in ("obs", "var"):
        pd.testing.assert_frame_equal(getattr(read, part), getattr(cells, part), check_dtype=False)
    for part in ("obsm", "layers", "obsp"):
        assert set(getattr(read, part)) == set(getattr(cells, part))
        for key, value in getattr(cells, part).items():
            same(getattr(read, part)[key], value)
    same(dict(read.uns["scnode"]), dict(cells.uns["scnode"]))
    states = torch.as_tensor(cells.obsm["X_scnode"])
    same(*(scnode.get.model(a).velocity(states)[0].detach() for a in (read, cells)))


def same(read, kept):
    """Equal values, whatever the container that a file makes of a tuple or a number."""
    if isinstance(kept, dict):
        assert set(read) == set(kept)
        for key in kept:
            same(read[key], kept[key])
    elif isinstance(kept, pd.DataFrame):
        pd.testing.assert_frame_equal(read, kept, check_dtype=False, check_categorical=False)
    elif sp.issparse(kept):
        assert (read != kept).nnz == 0
    else:
        np.testing.assert_array_equal(np.asarray(read), np.asarray(kept))
