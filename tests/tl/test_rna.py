import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.stats import spearmanr

import scnode
from scnode import ScnodeError

QUICK = {"field": "rna", "n_members": 2, "max_epochs": 8}


@pytest.fixture(scope="module")
def simulated():
    return scnode.datasets.bifurcation(n_cells=300, n_genes=40, rng=4)


@pytest.fixture(scope="module")
def modelled(simulated):
    """These cells after a short fit of a gray box."""
    adata = simulated.copy()
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(adata, **QUICK)
    return adata


@pytest.fixture
def adata(modelled):
    return modelled.copy()


def of_model(adata):
    return adata.var["scnode_beta"].notna().to_numpy()


def test_the_velocity_written_is_splicing_less_degradation(adata):
    scnode.tl.velocity(adata, genes=True)
    u, s = adata.layers["scnode_unspliced"], adata.layers["scnode_spliced"]
    beta, gamma = adata.var["scnode_beta"].to_numpy(), adata.var["scnode_gamma"].to_numpy()
    kept = of_model(adata)
    size = (beta * u + gamma * s)[:, kept]
    error = (adata.layers["velocity_scnode"] - (beta * u - gamma * s))[:, kept]
    assert (np.abs(error) < 4 * np.finfo(np.float32).eps * size).all()
    assert np.isnan(adata.layers["velocity_scnode"][:, ~kept]).all()


def test_every_gene_of_the_model_has_positive_rates_and_no_other_has_any(adata):
    kept, model = of_model(adata), scnode.get.model(adata)
    assert adata.var_names[kept].tolist() == model.genes
    for name in ("beta", "gamma"):
        assert (adata.var[f"scnode_{name}"][kept] > 0).all()
        assert adata.var[f"scnode_{name}"][~kept].isna().all()
    for name in ("alpha", "spliced", "unspliced"):
        layer = adata.layers[f"scnode_{name}"]
        assert (layer[:, kept] >= 0).all()
        assert np.isnan(layer[:, ~kept]).all()
    report = adata.uns["scnode"]["report"]["genes"]
    assert report["names"].tolist() == model.genes
    assert adata.obsm["X_scnode"].shape == (300, 2 * kept.sum())


def test_transcription_balances_the_motion_of_unspliced_abundance(adata):
    """The alpha written is the one that the field's own velocity implies."""
    kept = of_model(adata)
    n = kept.sum()
    unit = scnode.get.model(adata).encoder.unit.numpy()
    rate = adata.obsm["velocity_scnode"][:, :n] * unit
    spliced_away = adata.var["scnode_beta"].to_numpy()[kept] * adata.layers["scnode_unspliced"][:, kept]
    np.testing.assert_allclose(adata.layers["scnode_alpha"][:, kept], rate + spliced_away, rtol=1e-4, atol=1e-3)


def test_levels_are_those_of_the_expression_that_other_models_decode(adata):
    scnode.tl.trajectories(adata, n_steps=3)
    paths = scnode.get.trajectories(adata)
    start = paths[paths.obs["step"] == 0]
    expected = np.log1p(adata[start.obs["start"].to_numpy(), start.var_names].layers["scnode_spliced"])
    np.testing.assert_allclose(start.X, expected, atol=1e-5)
    assert (adata.layers["scnode_spliced"][:, of_model(adata)].sum(1) <= 1e4).all()


def test_no_trajectory_owes_molecules(adata):
    scnode.tl.trajectories(adata, start=list(adata.obs_names[::10]), t=5.0, n_steps=40, n_samples=2)
    # As far below zero as the solver's tolerance allows.
    assert adata.uns["scnode"]["trajectories"]["latent"].min() > -1e-3


def test_a_held_gene_keeps_its_level_and_makes_nothing_else_wait(adata):
    gene = scnode.get.model(adata).genes[0]
    for level in (0.0, 3.0):
        scnode.tl.perturb(adata, {gene: level}, name="x", groupby="clusters", overwrite=True)
        ends = torch.from_numpy(adata.uns["scnode"]["perturbations"]["x"]["perturbed"])
        model = scnode.get.model(adata)
        np.testing.assert_allclose(model.encoder.decode(ends)[..., 0], level, atol=1e-4)
        unspliced, spliced = model.encoder.abundance(ends)
        ratio = adata.var["scnode_gamma"][gene] / adata.var["scnode_beta"][gene]
        np.testing.assert_allclose(unspliced[..., 0], ratio * spliced[..., 0], rtol=1e-4, atol=1e-6)
        assert ends.min() > -1e-3
    assert len(scnode.get.perturbation(adata, "x")) == adata.obs["clusters"].nunique()


def test_genes_regulate_by_the_slope_of_transcription(adata):
    """Finite differences of alpha in the units of the layers."""
    model = scnode.get.model(adata)
    r, e = model.genes[1], model.genes[3]
    scnode.tl.jacobian(adata, regulators=[r], effectors=[e])
    unit = model.encoder.unit.double()
    field = model.field.double()
    states = torch.as_tensor(adata.obsm["X_scnode"]).double()
    step = torch.zeros(states.shape[1], dtype=torch.float64)
    step[len(unit) + 1] = 1e-4

    def alpha(y):
        return field.transcription(y.expand(2, -1, -1)).mean(0)[:, 3] * unit[3]

    slope = (alpha(states + step) - alpha(states - step)) / (2e-4 * unit[1])
    found = adata.uns["scnode"]["jacobian"]["values"][:, 0, 0]
    np.testing.assert_allclose(found, slope.detach(), rtol=1e-3, atol=1e-3 * float(slope.detach().abs().max()))
    trace = -(adata.var["scnode_beta"] + adata.var["scnode_gamma"]).sum()
    np.testing.assert_allclose(adata.obs["scnode_divergence"], trace, rtol=1e-4)


def test_every_tool_reads_it(adata, tmp_path):
    adata.obsm["X_flat"] = adata.obsm["X_scnode"][:, :2].astype(float)
    scnode.tl.velocity(adata, basis="flat")
    scnode.tl.transition_matrix(adata)
    np.testing.assert_allclose(adata.obsp["T_fwd"].sum(1), 1)
    scnode.tl.fate(adata, groupby="clusters", groups=["FateA", "FateB"])
    np.testing.assert_allclose(adata.obsm["scnode_fate"].sum(1), 1)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    for part, keys in {"obsm": ["X_scnode"], "layers": ["scnode_alpha"], "var": ["scnode_beta"]}.items():
        for key in keys:
            np.testing.assert_array_equal(getattr(again, part)[key], getattr(adata, part)[key])
    scnode.tl.trajectories(again, n_steps=2)


def test_a_refit_without_some_cells_keeps_the_rates(adata):
    """Else what is learned from it of forecasts is of another field."""
    from scnode.tl._refit import refit

    field, states = scnode.get.model(adata).field, torch.as_tensor(adata.obsm["X_scnode"])
    with torch.no_grad():
        velocity = field.mean(torch.zeros(()), states).numpy().astype(float)
    seen, rng = np.arange(300) % 4 > 0, np.random.default_rng(0)
    arrays = (
        a.astype(float) for a in (states.numpy()[seen], velocity[seen], adata.obs["scnode_time"].to_numpy()[seen])
    )
    again = refit(field, *arrays, rng=rng)
    for name in ("beta", "gamma"):
        fold = (getattr(again, name).mean(0) / getattr(field, name).mean(0)).log().detach()
        assert fold.abs().max() < 0.35


@pytest.mark.slow
def test_a_state_of_hundreds_of_abundances_is_scored():
    adata = scnode.datasets.bifurcation(n_cells=300, n_genes=70, rng=4)
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(adata, field="rna", n_members=2, max_epochs=150)
    assert adata.obsm["X_scnode"].shape[1] > 100
    scnode.tl.trajectories(adata, start=adata.obs_names[:5], n_steps=5)
    scnode.tl.ood(adata)
    score, run = adata.obs["scnode_ood"], adata.uns["scnode"]["ood"]
    assert ((score >= 0) & (score <= 1)).all()
    assert np.quantile(score, 0.1) < 0.3
    assert np.quantile(score, 0.9) > 0.5
    assert np.isfinite(run["parts"].to_numpy()).all()
    assert np.isfinite(adata.uns["scnode"]["trajectories"]["ood"]).all()


def test_new_cells_are_placed_by_their_own_counts(adata, simulated):
    rest = scnode.datasets.bifurcation(n_cells=300, n_genes=40, rng=4)[::2].copy()
    shuffled = rest[:, ::-1].copy()
    scnode.tl.map(rest, adata)
    scnode.tl.map(shuffled, adata)
    np.testing.assert_allclose(rest.obsm["X_scnode"], shuffled.obsm["X_scnode"], rtol=1e-3, atol=1e-3)
    fitted = adata[rest.obs_names].obsm["X_scnode"]
    assert np.median([np.corrcoef(a, b)[0, 1] for a, b in zip(rest.obsm["X_scnode"], fitted, strict=True)]) > 0.9
    assert (rest.layers["scnode_alpha"][:, of_model(rest)] >= 0).all()
    with pytest.raises(ScnodeError, match="needs all of its genes"):
        scnode.tl.map(simulated[:, ~of_model(adata)].copy(), adata)


def test_chosen_genes_make_the_state(simulated):
    genes = ["FateB_TF1", "Commit_TF", "FateA_TF1"]
    out = scnode.tl.fit(simulated, **QUICK, genes=genes, copy=True)
    assert scnode.get.model(out).genes == genes
    assert out.var["scnode_beta"].notna().sum() == 3
    assert out.obsm["X_scnode"].shape == (300, 6)


def test_a_pseudotime_gives_direction_and_clock(simulated):
    adata = simulated.copy()
    adata.obs["hours"] = adata.obs["true_time"].astype(float)
    scnode.tl.fit(adata, **QUICK, pseudotime_key="hours")
    assert adata.uns["scnode"]["report"]["evidence"] == ["obs['hours'] (pseudotime)"]
    kept = of_model(adata) & (adata.var["role"] != "inert").to_numpy()
    ratio = adata.var["scnode_gamma"] / adata.var["scnode_beta"]
    assert spearmanr(ratio[kept], (adata.var["gamma"] / adata.var["beta"])[kept])[0] > 0.6
    # Along true time the rates are those of the simulation, per length of the run.
    assert 0.4 < np.median((adata.var["scnode_beta"] / (30 * adata.var["beta"]))[kept]) < 1.6


def test_a_time_course_with_a_held_out_day(simulated):
    adata = scnode.datasets.bifurcation(n_cells=300, n_genes=40, n_days=4, rng=4)
    days = np.unique(adata.obs["day"])
    scnode.tl.fit(adata, **QUICK, time_key="day", holdout=[days[2]])
    assert np.isfinite(adata.obsm["X_scnode"]).all()
    assert np.isfinite(adata.layers["scnode_alpha"][:, of_model(adata)]).all()


def test_same_rng_same_bits(simulated, modelled):
    again = scnode.tl.fit(simulated, **QUICK, copy=True)
    np.testing.assert_array_equal(again.obsm["velocity_scnode"], modelled.obsm["velocity_scnode"])


def test_counts_may_be_dense_and_x_stays_as_it_is(simulated, modelled):
    dense = simulated.copy()
    for name in ("spliced", "unspliced"):
        dense.layers[name] = dense.layers[name].toarray()
    before = dense.X.copy()
    scnode.tl.fit(dense, **QUICK)
    assert (before != dense.X).nnz == 0
    np.testing.assert_allclose(dense.obsm["X_scnode"], modelled.obsm["X_scnode"], rtol=1e-4, atol=1e-5)


WRONG = {
    "genes of another field": ({"field": "mlp", "genes": ["a"]}, "pass field='rna'"),
    "gene": ({"genes": ["FateA_TF"]}, "Did you mean"),
    "one gene": ({"genes": "FateA_TF1"}, "list of names"),
    "use_rep": ({"use_rep": "X_pca"}, "use_rep='X_pca' has no effect on field='rna'"),
    "encoder": ({"encoder": "vae"}, "encoder='vae' has no effect"),
    "decoder": ({"decoder": "linear"}, "decoder='linear' has no effect"),
    "batch_key": ({"batch_key": "lane"}, "batch_key='lane' has no effect"),
}


@pytest.mark.parametrize("what", sorted(WRONG))
def test_what_has_no_place_is_refused_and_nothing_written(simulated, what):
    options, message = WRONG[what]
    adata = simulated.copy()
    with pytest.raises(ScnodeError, match=message):
        scnode.tl.fit(adata, **QUICK | options)
    assert "scnode" not in adata.uns
    assert set(adata.layers) == set(simulated.layers)


def test_layers_are_needed_whatever_the_evidence(simulated):
    adata = simulated.copy()
    adata.obs["hours"] = adata.obs["true_time"].astype(float)
    del adata.layers["unspliced"]
    with pytest.raises(ScnodeError, match="without them leave field= out"):
        scnode.tl.fit(adata, **QUICK, pseudotime_key="hours")


def test_silent_genes_are_named(simulated):
    adata = simulated.copy()
    unspliced = adata.layers["unspliced"].toarray()
    unspliced[:, 3] = 0
    adata.layers["unspliced"] = sp.csr_matrix(unspliced)
    with pytest.raises(ScnodeError, match=rf"\['{adata.var_names[3]}'\].*Leave them out of genes="):
        scnode.tl.fit(adata, **QUICK, genes=[adata.var_names[3], adata.var_names[4]])


def test_truth_of_another_space_is_refused(adata):
    with pytest.raises(ScnodeError, match="field='rna'"):
        scnode.datasets.true_velocity(adata)
