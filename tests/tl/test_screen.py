from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import scnode
from scnode import ScnodeError

ENDS = {"groupby": "end", "groups": ["left", "right"]}


@pytest.fixture(scope="module")
def screened(parting):
    return scnode.tl.screen(parting, level=3.2, n_verified=3, copy=True, **ENDS)


def test_the_score_and_the_shift_rank_as_holding_every_gene_does(parting, screened):
    """A small change of the level, so that the first order is nearly all."""
    table = scnode.get.screen(screened, fate="right").set_index("gene")
    change = {}
    for gene in parting.var_names:
        scnode.tl.perturb(parting, {gene: 3.2}, name="one", n_null=0, overwrite=True, **ENDS)
        row = scnode.get.perturbation(parting, "one").set_index("fate").loc["right"]
        change[gene] = row["perturbed"] - row["control"]
    assert spearmanr(table["score"], [change[g] for g in table.index])[0] > 0.8
    assert spearmanr(table["shift"], [change[g] for g in table.index])[0] > 0.9
    assert max(change, key=lambda g: abs(change[g])) in table.index[:2]


def few_of(adata, cells=None):
    """The few trajectories of a screen, or those of all members from some start cells."""
    from scnode._keys import Keys
    from scnode.tl._few_held import FewHeld
    from scnode.tl._outcomes import terminal_groups
    from scnode.tl._trajectories import start_rows

    model, latent = scnode.get.model(adata), adata.obsm["X_scnode"].astype(float)
    states = torch.as_tensor(latent[start_rows(adata, None, Keys())], dtype=torch.float32)
    terminal = terminal_groups(adata, Keys(), **ENDS)
    few = FewHeld.of(model, states, torch.tensor([0.0, 1.0]), None, latent, terminal)
    return few if cells is None else replace(few, cells=np.tile(cells(len(states)), (model.field.n_members, 1)))


def test_trajectories_of_all_members_from_all_cells_are_the_perturbation(parting):
    for gene in ("g0", "g4"):
        scnode.tl.perturb(parting, {gene: 3.2}, name="one", n_null=0, overwrite=True, **ENDS)
        table = scnode.get.perturbation(parting, "one").set_index("fate")
        found = few_of(parting, np.arange).shifts([[gene]], 3.2)[0]
        np.testing.assert_allclose(found, (table["perturbed"] - table["control"])[["left", "right"]], atol=2e-3)


def test_few_trajectories_are_one_in_fifty_and_of_cells_of_their_own(parting):
    few = few_of(parting)
    assert few.cells.shape == (2, 1)
    assert few.cells[0, 0] != few.cells[1, 0]


@pytest.mark.slow
def test_one_trajectory_in_fifty_ranks_as_all_do():
    """Knock-outs of every gene of a simulated decision, of cells of all clocks' earliest tenth."""
    from scnode._keys import Keys
    from scnode.tl._few_held import FewHeld
    from scnode.tl._outcomes import terminal_groups
    from scnode.tl._trajectories import start_rows

    adata = scnode.datasets.bifurcation(n_cells=1000, n_genes=80, rng=5)
    scnode.pp.velocity(adata)
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(adata, velocity_key="velocity", n_members=3, max_epochs=80)
    model, latent = scnode.get.model(adata), adata.obsm["X_scnode"].astype(float)
    states = torch.as_tensor(latent[start_rows(adata, None, Keys())], dtype=torch.float32)
    terminal = terminal_groups(adata, Keys(), "clusters", ["FateA", "FateB"])
    few = FewHeld.of(model, states, torch.tensor([0.0, 1.0]), None, latent, terminal)
    every = replace(few, cells=np.tile(np.arange(len(states)), (3, 1)))
    assert every.cells.size >= 50 * few.cells.size
    genes = [[gene] for gene in model.genes]
    assert spearmanr(few.shifts(genes, 0.0)[:, 0], every.shifts(genes, 0.0)[:, 0])[0] > 0.9


def test_pairs_are_held_together(parting):
    adata = scnode.tl.screen(parting, level=3.2, n_verified=0, n_paired=3, copy=True, **ENDS)
    table, pairs = scnode.get.screen(adata), scnode.get.screen(adata, pairs=True)
    assert len(pairs) == 3 * 2
    assert (pairs["synergy"].abs().diff().dropna() <= 1e-12).all()
    alone = table.set_index(["gene", "fate"])["shift"]
    for row in pairs.itertuples():
        assert row.synergy == pytest.approx(row.shift - alone[row.gene, row.fate] - alone[row.partner, row.fate])
    row = pairs.iloc[0]
    both = few_of(parting).shifts([[row["gene"], row["partner"]]], 3.2)[0]
    assert row["shift"] == pytest.approx(both[["left", "right"].index(row["fate"])], abs=1e-6)
    with pytest.raises(ScnodeError, match="n_paired="):
        scnode.get.screen(scnode.tl.screen(parting, level=3.2, n_verified=0, copy=True, **ENDS), pairs=True)


def test_scores_of_two_fates_are_opposite(screened):
    left, right = (scnode.get.screen(screened, fate=f).set_index("gene")["score"] for f in ("left", "right"))
    np.testing.assert_allclose(left, -right[left.index], rtol=1e-3, atol=1e-5)


def test_the_best_are_held_in_full_as_perturb_does(screened, parting):
    table = scnode.get.screen(screened)
    held = table.dropna(subset=["qvalue"])
    assert held["gene"].nunique() == 3
    gene = held["gene"].iloc[0]
    scnode.tl.perturb(parting, {gene: 3.2}, name="again", n_null=0, overwrite=True, **ENDS)
    expected = scnode.get.perturbation(parting, "again").set_index("fate")
    found = held[held["gene"] == gene].set_index("fate")
    np.testing.assert_allclose(found["log_fold_change"], expected.loc[found.index, "log_fold_change"], atol=1e-6)


def test_genes_that_the_space_does_not_move_are_left_out(parting):
    adata = parting.copy()
    model = scnode.get.model(adata)
    model.encoder.components[2] = 0
    adata.uns["scnode"] = {**adata.uns["scnode"], "model": model.to_arrays()}
    scnode.tl.screen(adata, genes=["g0", "g2", "g0"], level=3.2, n_verified=0, **ENDS)
    assert set(scnode.get.screen(adata)["gene"]) == {"g0"}


def test_genes_off_the_data_come_last(parting):
    table = scnode.get.screen(scnode.tl.screen(parting, level=40.0, n_verified=0, copy=True, **ENDS), fate="left")
    assert (table["start_ood"] == 1).all()
    assert "qvalue" not in table
    near = scnode.get.screen(scnode.tl.screen(parting, level=3.2, n_verified=0, copy=True, **ENDS), fate="left")
    assert (np.diff(near["start_ood"] > 0.5) >= 0).all()


def test_results_survive_a_file_and_groups_come_from_the_fates(parting, screened, tmp_path):
    screened.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    assert scnode.get.screen(again).equals(scnode.get.screen(screened))
    adata = parting.copy()
    adata.uns["scnode"] = {**adata.uns["scnode"], "fate": {"groupby": "end", "groups": ["left", "right"]}}
    scnode.tl.screen(adata, genes=["g0", "g1"], level=3.2, n_verified=0)
    assert set(scnode.get.screen(adata)["gene"]) == {"g0", "g1"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "two terminal groups"),
        ({"groupby": "end", "groups": ["left"]}, "two terminal groups"),
        ({"groupby": "ends"}, "Did you mean 'end'"),
        ({"genes": ["g9"], **ENDS}, "Did you mean"),
        ({"level": -1.0, **ENDS}, "at least 0"),
        ({"t": 0.0, **ENDS}, "leave nothing to do"),
        ({"genes": [], **ENDS}, "leave nothing to do"),
    ],
)
def test_bad_input_leaves_the_cells_alone(parting, options, message):
    with pytest.raises(ScnodeError, match=message):
        scnode.tl.screen(parting, **options)
    with pytest.raises(ScnodeError, match="No screen is stored"):
        scnode.get.screen(parting)


def test_an_unknown_fate(screened):
    with pytest.raises(ScnodeError, match="Did you mean 'left'"):
        scnode.get.screen(screened, fate="lef")
