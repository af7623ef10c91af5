"""What a gray box of RNA finds in cells of known rates, and in real ones where SCNODE_DATA names their folder."""

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy.stats import spearmanr

import scnode
from scnode.data import Neighbors
from scnode.datasets._bifurcation import build_network
from scnode.metrics import bootstrap_mean, cosine

pytestmark = pytest.mark.slow
REAL = pytest.mark.skipif("SCNODE_DATA" not in os.environ, reason="SCNODE_DATA does not name the data folder")


@pytest.fixture(scope="module")
def simulated():
    adata = scnode.datasets.bifurcation(n_cells=1500, rng=104)
    scnode.tl.fit(adata, field="rna", n_members=2, max_epochs=60)
    scnode.tl.velocity(adata, genes=True)
    return adata


@pytest.fixture(scope="module")
def moving(simulated):
    """Genes of the model that are not inert."""
    return simulated.var["scnode_beta"].notna().to_numpy() & (simulated.var["role"] != "inert").to_numpy()


def test_rates_come_in_the_order_of_the_true_ones(simulated, moving):
    found, true = simulated.var[moving], simulated.var.loc[moving, ["beta", "gamma"]]
    assert moving.sum() > 80
    assert spearmanr(found["scnode_beta"], true["beta"])[0] > 0.55
    assert spearmanr(found["scnode_gamma"], true["gamma"])[0] > 0.35
    ratio, truth = found["scnode_gamma"] / found["scnode_beta"], true["gamma"] / true["beta"]
    assert spearmanr(ratio, truth)[0] > 0.85
    assert abs(np.median(np.log(ratio / truth))) < np.log(1.1)


def test_transcription_follows_the_true_one(simulated, moving):
    network = build_network(simulated.n_vars, np.random.default_rng(104))
    np.testing.assert_array_equal(network.beta, simulated.var["beta"])
    true = network.rates(simulated.layers["true_spliced"].astype(float))[:, moving]
    # Of a gene that is made at one rate in every cell there is no course to follow.
    varies = true.std(0) > 1e-6 * true.mean(0)
    found = simulated.layers["scnode_alpha"][:, moving]
    together = [np.corrcoef(a, b)[0, 1] for a, b in zip(found.T[varies], true.T[varies], strict=True)]
    assert np.median(together) > 0.9


def test_velocity_of_genes_comes_near_what_the_neighbours_allow(simulated, moving):
    true = simulated.layers["true_velocity"][:, moving].astype(float)
    speed = np.linalg.norm(true, axis=1)
    fast = speed >= np.median(speed)
    ceiling = cosine(Neighbors.of(simulated.obsm["X_scnode"].astype(float), k=30).mean(true), true)[fast].mean()
    assert cosine(simulated.layers["velocity_scnode"][:, moving], true)[fast].mean() > 0.7 * ceiling


def test_knocking_out_a_master_costs_its_fate(simulated):
    scnode.tl.perturb(simulated, {"FateA_TF1": 0.0}, groupby="clusters", groups=["FateA", "FateB"], name="ko", t=2.0)
    table = scnode.get.perturbation(simulated, "ko").set_index("fate")
    assert table.loc["FateA", "perturbed"] < 0.5 * table.loc["FateA", "control"]


@REAL
def test_pancreas_flows_from_ductal_to_endocrine():
    adata = ad.read_h5ad(Path(os.environ["SCNODE_DATA"]) / "pancreas_739cells_7192genes.h5ad")
    scnode.tl.fit(adata, field="rna", n_members=2, max_epochs=60)
    latent, groups = adata.obsm["X_scnode"].astype(float), adata.obs["clusters"].to_numpy(dtype=str)
    near = Neighbors.of(latent, k=31).index[:, 1:]
    for here, there in [("Ngn3 low EP", "Ngn3 high EP"), ("Ngn3 high EP", "Pre-endocrine"), ("Pre-endocrine", "Beta")]:
        pairs = [(i, j) for i in np.flatnonzero(groups == here) for j in near[i] if groups[j] == there]
        i, j = np.array(pairs).T
        _, low, _ = bootstrap_mean(cosine(latent[j] - latent[i], adata.obsm["velocity_scnode"][i]))
        assert low > 0, (here, there)
    scnode.tl.trajectories(adata, start={"clusters": ["Ductal"]}, t=2.0, n_steps=2)
    ends = adata.uns["scnode"]["trajectories"]["latent"][:, 0, -1]
    nearest = ((ends[:, None] - latent) ** 2).sum(-1).argmin(1)
    assert np.isin(groups[nearest], ["Pre-endocrine", "Alpha", "Beta", "Delta", "Epsilon"]).mean() > 0.7
