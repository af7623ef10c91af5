import anndata as ad
import numpy as np
import pytest
from scipy.stats import spearmanr

import scnode
from scnode import ScnodeError

ENDS = {"groupby": "end", "groups": ["left", "right"]}


@pytest.fixture(scope="module")
def screened(parting):
    return scnode.tl.screen(parting, level=3.2, n_verified=3, copy=True, **ENDS)


def test_the_score_ranks_as_holding_every_gene_does(parting, screened):
    """A small change of the level, so that the first order is nearly all."""
    table = scnode.get.screen(screened, fate="right").set_index("gene")["score"]
    change = {}
    for gene in parting.var_names:
        scnode.tl.perturb(parting, {gene: 3.2}, name="one", overwrite=True, **ENDS)
        row = scnode.get.perturbation(parting, "one").set_index("fate").loc["right"]
        change[gene] = row["perturbed"] - row["control"]
    assert spearmanr(table, [change[g] for g in table.index])[0] > 0.8
    assert max(change, key=lambda g: abs(change[g])) in table.index[:2]


def test_scores_of_two_fates_are_opposite(screened):
    left, right = (scnode.get.screen(screened, fate=f).set_index("gene")["score"] for f in ("left", "right"))
    np.testing.assert_allclose(left, -right[left.index], rtol=1e-3, atol=1e-5)


def test_the_best_are_held_in_full_as_perturb_does(screened, parting):
    table = scnode.get.screen(screened)
    held = table.dropna(subset=["qvalue"])
    assert held["gene"].nunique() == 3
    gene = held["gene"].iloc[0]
    scnode.tl.perturb(parting, {gene: 3.2}, name="again", overwrite=True, **ENDS)
    expected = scnode.get.perturbation(parting, "again").set_index("fate")
    found = held[held["gene"] == gene].set_index("fate")
    np.testing.assert_allclose(found["log_fold_change"], expected.loc[found.index, "log_fold_change"], atol=1e-6)


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
