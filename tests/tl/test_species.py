import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import solve_ivp

import scnode
from scnode import ScnodeError

BINDING = scnode.pp.stoichiometry("binding: A + B <-> C")


def rate(x):
    return 1.5 * x[..., 0] * x[..., 1] - 0.3 * x[..., 2]


@pytest.fixture(scope="module")
def binding():
    """150 cells on their way to the equilibrium of A + B <-> C, each with totals of its own."""
    rng, change = np.random.default_rng(0), np.array([-1.0, -1.0, 1.0])
    starts = np.c_[rng.uniform(0.5, 1.5, (150, 2)), np.zeros(150)]
    times = rng.uniform(0.01, 1.5, 150)
    states = np.array(
        [
            solve_ivp(lambda t, x: change * rate(x), (0, t), y0, rtol=1e-9, atol=1e-12).y[:, -1]
            for y0, t in zip(starts, times, strict=True)
        ]
    )
    obs = pd.DataFrame({"hours": times}, index=[f"c{i}" for i in range(150)])
    adata = ad.AnnData(np.zeros((150, 2), np.float32), obs=obs)
    adata.obsm["X_species"] = pd.DataFrame(states, index=obs.index, columns=list("ABC"))
    adata.obsm["flux"] = rate(states)[:, None] * change
    adata.obsm["noisy"] = adata.obsm["flux"] + rng.normal(0, 0.05, (150, 3))
    return adata


def fit(adata, S=BINDING, **options):
    field = scnode.nn.StoichiometricField(S, hidden=(16,), n_members=2)
    options = {"use_rep": "X_species", "velocity_key": "noisy", "max_epochs": 150, "lr": 1e-2, **options}
    scnode.tl.fit(adata, field=field, **options)


@pytest.fixture(scope="module")
def bound(binding):
    adata = binding.copy()
    with scnode.settings.override(verbosity=0):
        fit(adata)
    return adata


def test_the_fit_follows_the_reaction_and_reports_what_it_conserves(bound):
    assert np.corrcoef(bound.obsm["velocity_scnode"][:, 2], bound.obsm["flux"][:, 2])[0, 1] > 0.9
    conserved = bound.uns["scnode"]["report"]["conserved"]
    assert conserved["name"].tolist() == ["A + C", "B + C"]
    np.testing.assert_array_equal(conserved["coefficients"], [[1, 0, 1], [0, 1, 1]])
    totals = bound.obsm["X_species"].to_numpy() @ conserved["coefficients"].T
    np.testing.assert_allclose(conserved["mean"], totals.mean(0), rtol=1e-5)
    np.testing.assert_allclose(conserved["spread"], totals.std(0, ddof=1), rtol=1e-5)
    assert (conserved["spread"] > 0.1).all()
    assert (conserved["drift"] < 1e-5).all()
    # The evidence breaks conservation; the velocities do not.
    assert np.abs(bound.obsm["noisy"] @ conserved["coefficients"].T).max() > 0.05
    assert np.abs(bound.obsm["velocity_scnode"] @ conserved["coefficients"].T).max() < 1e-5


def test_the_model_survives_a_file(bound, tmp_path):
    bound.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    field = scnode.get.model(again).field
    assert (field.species, field.reactions) == (["A", "B", "C"], ["binding", "binding (reverse)"])
    assert again.uns["scnode"]["params"]["field"] == "stoichiometric"
    assert again.uns["scnode"]["report"]["conserved"]["name"].tolist() == ["A + C", "B + C"]
    for adata in (again, bound):
        scnode.tl.trajectories(adata, n_steps=5)
        scnode.tl.jacobian(adata)
    paths = again.uns["scnode"]["trajectories"]["latent"]
    np.testing.assert_array_equal(paths, bound.uns["scnode"]["trajectories"]["latent"])
    totals = paths @ field.conserved.numpy().T
    np.testing.assert_allclose(totals, np.broadcast_to(totals[:, :, :1], totals.shape), atol=1e-5)


def test_nothing_conserved_is_reported_as_none(binding, tmp_path):
    adata = binding.copy()
    fit(adata, scnode.pp.stoichiometry("A <-> 0\nB <-> 0\nC <-> 0"), max_epochs=1)
    assert adata.uns["scnode"]["report"]["conserved"]["coefficients"].shape == (0, 3)
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert len(ad.read_h5ad(tmp_path / "a.h5ad").uns["scnode"]["report"]["conserved"]["name"]) == 0


def test_other_kinds_report_nothing_of_the_sort(fitted):
    assert "conserved" not in fitted.uns["scnode"]["report"]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ("none", {"use_rep": None}, "Pass use_rep="),
        ("none", {"use_rep": "X_specie"}, "Did you mean 'X_species'"),
        ("two columns", {}, "has 2 columns and the field 3 species"),
        ("other order", {}, r"columns of adata.obsm\['X_species'\] are \['B', 'A', 'C'\]"),
        ("negative", {}, r"negative in 3 cells \(\['B'\]\)"),
        ("nan", {}, "not finite in 1 cells"),
    ],
)
def test_a_representation_that_is_no_abundance_of_the_species_is_refused(binding, change, options, message):
    adata = binding.copy()
    table = adata.obsm["X_species"].copy()
    if change == "two columns":
        table = table[["A", "B"]]
    elif change == "other order":
        table = table[["B", "A", "C"]]
    elif change == "negative":
        table.iloc[:3, 1] = -0.1
    elif change == "nan":
        table.iloc[0, 0] = np.nan
    adata.obsm["X_species"] = table
    with pytest.raises(ScnodeError, match=message):
        fit(adata, **options)
    assert "scnode" not in adata.uns
    assert "X_scnode" not in adata.obsm


def test_the_name_alone_is_not_enough(binding):
    with pytest.raises(ScnodeError, match=r"StoichiometricField\(scnode.pp.stoichiometry"):
        scnode.tl.fit(binding, field="stoichiometric", use_rep="X_species")


def test_held_out_times_are_predicted_by_the_same_reactions(binding):
    pytest.importorskip("ot")
    adata = binding.copy()
    adata.obs["day"] = np.digitize(adata.obs["hours"], [0.5, 1.0]).astype(float)
    fit(adata, time_key="day", velocity_key=None, max_epochs=5)
    scnode.tl.evaluate(adata, time_key="day", holdout=1.0)
    table = scnode.get.evaluation(adata)
    assert np.isfinite(table.loc[table["method"] == "scnode", "energy"]).all()


def test_an_inhibitor_slows_the_reaction_and_breaks_nothing(binding):
    """Half of the cells are under a dose at which nothing binds."""
    adata = binding.copy()
    adata.obs["inhibitor"] = np.tile([0.0, 3.0], 75)
    adata.obsm["noisy"] = np.where(adata.obs["inhibitor"].to_numpy()[:, None] > 0, 0.0, adata.obsm["noisy"])
    generator = torch.Generator().manual_seed(0)
    field = scnode.nn.StoichiometricField(BINDING, hidden=(16,), n_members=2, n_controls=1, generator=generator)
    options = {"use_rep": "X_species", "velocity_key": "noisy", "max_epochs": 150, "lr": 1e-2}
    with pytest.raises(ScnodeError, match="needs an input"):
        scnode.tl.fit(adata, field=field, **options)
    with pytest.raises(ScnodeError, match="n_controls="):
        scnode.tl.fit(adata, field=scnode.nn.StoichiometricField(BINDING), control_key="inhibitor", **options)
    scnode.tl.fit(adata, field=field, control_key="inhibitor", **options)
    speed, free = np.linalg.norm(adata.obsm["velocity_scnode"], axis=1), (adata.obs["inhibitor"] == 0).to_numpy()
    assert speed[~free].mean() < 0.3 * speed[free].mean()
    assert np.corrcoef(adata.obsm["velocity_scnode"][free, 2], adata.obsm["flux"][free, 2])[0, 1] > 0.85
    ends = {}
    for dose in (0.0, 3.0):
        scnode.tl.trajectories(adata, start=free, control={"inhibitor": dose}, t=0.5, n_steps=2)
        ends[dose] = adata.uns["scnode"]["trajectories"]["latent"][:, 0]
    moved = {dose: np.abs(ys[:, -1] - ys[:, 0]).mean() for dose, ys in ends.items()}
    assert moved[3.0] < 0.4 * moved[0.0]
    for ys in ends.values():
        totals = ys.astype(float) @ np.array([[1.0, 0, 1], [0, 1, 1]]).T
        np.testing.assert_allclose(totals[:, -1], totals[:, 0], atol=1e-5)
    again = scnode.model.LatentODE.from_arrays(adata.uns["scnode"]["model"])
    assert (again.field.n_controls, again.controls.names) == (1, ["inhibitor"])
