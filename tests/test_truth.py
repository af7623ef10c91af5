"""The whole way on cells of known truth, and on real cells where SCNODE_DATA names their folder."""

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import scnode
from scnode.data import Neighbors, Support, mean_phase, wrap
from scnode.metrics import bootstrap_mean, cosine

pytestmark = pytest.mark.slow
REAL = pytest.mark.skipif("SCNODE_DATA" not in os.environ, reason="SCNODE_DATA does not name the data folder")


@pytest.fixture(scope="module")
def simulated():
    adata = scnode.datasets.bifurcation(rng=11)
    scnode.tl.fit(adata)
    return adata


def test_velocity_from_counts_comes_near_the_ceiling_that_they_allow(simulated):
    truth = scnode.datasets.true_velocity(simulated)
    speed = np.linalg.norm(truth, axis=1)
    fast = speed >= np.median(speed)
    smooth = Neighbors.of(simulated.obsm["X_scnode"].astype(float), k=30).mean(truth)
    ceiling = cosine(smooth, truth)[fast].mean()
    assert cosine(simulated.obsm["velocity_scnode"], truth)[fast].mean() > 0.94 * ceiling


@pytest.mark.parametrize(("gene", "lost", "won"), [("FateA_TF1", "FateA", "FateB"), ("FateB_TF1", "FateB", "FateA")])
def test_knocking_out_a_master_costs_its_fate(simulated, gene, lost, won):
    options = {"groupby": "clusters", "groups": ["FateA", "FateB"], "name": gene, "overwrite": True}
    # Of few genes, most random ones take part in the fates: the null of equals is for genomes.
    scnode.tl.perturb(simulated, {gene: 0.0}, n_null=0, **options)
    table = scnode.get.perturbation(simulated, gene).set_index("fate")
    assert table.loc[lost, "log_fold_change"] < -1
    assert table.loc[won, "log_fold_change"] > 0
    assert table.loc[lost, "perturbed"] < 0.3
    # Hardly any wild-type cell at the start is like one without the gene: the interval says so, and holds the truth.
    assert table.loc[lost, "ci_low"] < np.log2(0.05)
    assert table.loc[won, "ci_low"] < 0 < table.loc[won, "ci_high"]


def test_velocity_alone_finds_the_phase_of_a_limit_cycle():
    adata = scnode.datasets.limit_cycle(rng=11)
    scnode.tl.fit(adata)
    clock = adata.uns["scnode"]["report"]["clock"]
    assert clock["kind"] == "cycle"
    assert clock["winding"] > 0.7
    assert clock["turning"] > 0.98
    phase = 2 * np.pi * adata.obs["scnode_time"].to_numpy()
    assert circular_correlation(phase, adata.obs["true_phase"].to_numpy()) > 0.95
    scnode.tl.trajectories(adata, start=list(adata.obs_names[::10]), t=1.0, n_steps=20)
    paths = adata.uns["scnode"]["trajectories"]["latent"][:, 0]
    turns = mean_phase(adata.obs["scnode_time"].to_numpy()[Support(adata.obsm["X_scnode"]).nearest(paths)[1]])
    assert 0.85 < wrap(np.diff(turns, axis=1)).sum(1).mean() < 1.15


@pytest.fixture(scope="module", params=[("bifurcation", 100), ("limit_cycle", 100)], ids=["bifurcation", "cycle"])
def parted(request):
    """A simulation, and the cosine with the truth and the shares of each kind of field."""
    simulation, seed = request.param
    adata, scores, shares = getattr(scnode.datasets, simulation)(n_cells=1000, rng=seed), {}, {}
    for kind in ("mlp", "gradient", "gradient+circulation"):
        out = scnode.tl.fit(adata, field=kind, n_members=2, copy=True)
        scores[kind] = cosine(out.obsm["velocity_scnode"], scnode.datasets.true_velocity(out)).mean()
        shares[kind] = out.uns["scnode"]["report"].get("field")
    return simulation, scores, shares


def test_a_landscape_suffices_for_a_tree_and_not_for_a_cycle(parted):
    simulation, scores, shares = parted
    assert scores["gradient+circulation"] > scores["mlp"] - 0.02
    if simulation == "bifurcation":
        assert scores["gradient"] > scores["mlp"] - 0.03
        assert shares["gradient+circulation"]["circulation"] < 0.25
        assert shares["gradient+circulation"]["potential"] > 0.5
    else:
        assert scores["gradient"] < scores["mlp"] - 0.4
        assert shares["gradient+circulation"]["circulation"] > 0.8


def circular_correlation(a, b):
    """Fisher and Lee's, of all pairs of cells, which no choice of the origin changes."""

    def together(p, q):
        return np.abs(np.exp(1j * (p - q)).sum()) ** 2 - np.abs(np.exp(1j * (p + q)).sum()) ** 2

    return together(a, b) / np.sqrt(together(a, a) * together(b, b))


@pytest.mark.parametrize("simulate", ["bifurcation", "branching", "stiff"])
def test_trees_keep_a_path(simulate):
    adata = getattr(scnode.datasets, simulate)(rng=11)
    scnode.tl.fit(adata, n_members=1, max_epochs=1)
    clock = adata.uns["scnode"]["report"]["clock"]
    assert clock["kind"] == "path"
    assert clock["winding"] < 0.15


def real(name):
    return ad.read_h5ad(Path(os.environ["SCNODE_DATA"]) / name)


def ends(adata, start, t):
    """Group of the nearest cell of every end."""
    out = scnode.tl.trajectories(adata, start={"clusters": [start]}, t=t, n_steps=2, copy=True)
    states = out.uns["scnode"]["trajectories"]["latent"][:, 0, -1]
    distance = ((states[:, None] - adata.obsm["X_scnode"]) ** 2).sum(-1)
    return adata.obs["clusters"].to_numpy(dtype=str)[distance.argmin(1)]


@REAL
@pytest.mark.parametrize("name", ["pancreas_739cells_7192genes.h5ad", "pancreas_endocrinogenesis.h5ad"])
def test_pancreas_flows_from_ductal_to_endocrine(name):
    adata = real(name)
    scnode.tl.fit(adata)
    assert adata.uns["scnode"]["report"]["clock"]["kind"] == "path"
    latent, groups = adata.obsm["X_scnode"].astype(float), adata.obs["clusters"].to_numpy(dtype=str)
    near = Neighbors.of(latent, k=31).index[:, 1:]
    for here, there in [
        ("Ductal", "Ngn3 low EP"),
        ("Ngn3 low EP", "Ngn3 high EP"),
        ("Ngn3 high EP", "Pre-endocrine"),
    ] + [("Pre-endocrine", group) for group in ("Alpha", "Beta", "Delta")]:
        pairs = [(i, j) for i in np.flatnonzero(groups == here) for j in near[i] if groups[j] == there]
        i, j = np.array(pairs).T
        _, low, _ = bootstrap_mean(cosine(latent[j] - latent[i], adata.obsm["velocity_scnode"][i]))
        assert low > 0, (here, there)
    endocrine = np.isin(ends(adata, "Ductal", 2.0), ["Pre-endocrine", "Alpha", "Beta", "Delta", "Epsilon"])
    assert endocrine.mean() > 0.7


@REAL
def test_myeloid_progenitors_reach_both_branches():
    adata = real("paul15_myeloid.h5ad")
    scnode.tl.fit(adata)
    assert "monocle_pseudotime" in adata.uns["scnode"]["report"]["evidence"][0]
    reached = ends(adata, "Multipotent progenitors", 1.0)
    assert np.isin(reached, ["Erythrocyte", "Megakaryocytes"]).mean() > 0.2
    assert np.isin(reached, ["Monocytes", "Neutrophils", "Basophils", "GMP"]).mean() > 0.2
