from types import SimpleNamespace

import anndata as ad
import numpy as np
import pytest
import torch
from scipy.linalg import expm

import scnode
from scnode import ScnodeError
from scnode.tl._adjoint_path import Odds
from scnode.tl._attribution import _integrated

ENDS = {"groupby": "end", "groups": ["left", "right"]}


class Linear:
    n_members = 1

    def __init__(self, matrix):
        self.matrix = torch.as_tensor(matrix)

    def __call__(self, t, y):
        return y @ self.matrix.T


@pytest.fixture(scope="module")
def attributed(parting):
    """Of the cells that have begun to go right."""
    start = (parting.X[:, 0] > 3.2) & parting.obs["time"].between(0.3, 0.5).to_numpy()
    return scnode.tl.attribution(parting, start=start, t=0.5, copy=True, **ENDS)


def test_contributions_along_a_linear_flow_are_those_of_the_closed_form():
    rng, horizon = np.random.default_rng(0), 0.8
    matrix, weights, start = rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=(4, 3))
    read = rng.normal(size=(5, 3))
    made = np.linalg.pinv(read).T
    grid = torch.linspace(0, horizon, 9, dtype=torch.float64)
    odds = Odds(torch.as_tensor(np.stack([-weights, weights]) / 2), torch.zeros(2, dtype=torch.float64))
    model = SimpleNamespace(field=Linear(matrix), under=lambda control: Linear(matrix))
    axes = torch.as_tensor(read)[None], torch.as_tensor(made)[None]
    found, weight = _integrated(model, torch.as_tensor(start), grid, odds, axes, None)
    speeds, shares = np.polynomial.legendre.leggauss(30)
    expected = np.zeros((5, 9))
    for s, share in zip((speeds + 1) / 2, shares / 2, strict=True):
        for k, now in enumerate(grid.numpy()):
            pull = expm(matrix.T * s * (horizon - now)) @ weights
            moves = start @ expm(matrix * s * now).T @ matrix.T
            expected[:, k] += share * (made @ pull) * (moves @ read.T).mean(0)
    np.testing.assert_allclose(found[1, :, :, 0], expected, atol=2e-3)
    change = ((start @ expm(matrix * horizon).T - start) @ weights).mean()
    np.testing.assert_allclose(found[1, :, :, 0].sum(0) @ weight, change, rtol=1e-3)


def test_contributions_add_up_to_the_change_of_the_log_odds(attributed):
    record = attributed.uns["scnode"]["attribution"]
    assert record["change"][1] > 0.3
    np.testing.assert_allclose(record["sum"], record["change"], rtol=0.01)
    np.testing.assert_allclose(record["change"][0], -record["change"][1], rtol=1e-4)
    table = scnode.get.attribution(attributed, fate="right")
    total = table.groupby("t")["contribution"].sum()
    np.testing.assert_allclose(np.trapezoid(total, total.index), record["change"][1], rtol=0.01)


def test_the_gene_that_parts_the_fates_contributes_most(attributed):
    table = scnode.get.attribution(attributed, fate="right")
    by_gene = table.groupby("gene")["contribution"].mean()
    # g0 is what the cells part along, g2 noise.
    assert by_gene.idxmax() == "g0"
    assert abs(by_gene["g2"]) < 0.1 * by_gene["g0"]
    assert table["sd"].max() > 0


def test_a_model_of_rna_shares_out_between_its_genes():
    adata = scnode.datasets.bifurcation(n_cells=200, n_genes=20, rng=1)
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(adata, field="rna", genes=list(adata.var_names[:9]), n_members=1, max_epochs=5)
    scnode.tl.attribution(adata, groupby="clusters", groups=["FateA", "FateB"], start=np.arange(200) < 3, n_steps=3)
    record = adata.uns["scnode"]["attribution"]
    assert record["contribution"].shape == (2, 9, 3)
    np.testing.assert_allclose(record["sum"], record["change"], rtol=0.05, atol=0.01)


def test_results_survive_a_file(attributed, tmp_path):
    attributed.write_h5ad(tmp_path / "a.h5ad")
    assert scnode.get.attribution(ad.read_h5ad(tmp_path / "a.h5ad")).equals(scnode.get.attribution(attributed))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "two terminal groups"),
        ({"groupby": "ends"}, "Did you mean 'end'"),
        ({"t": 0.0, **ENDS}, "must be positive"),
        ({"n_steps": 1, **ENDS}, "at least 2"),
        ({"start": ["nobody"], **ENDS}, "obs_names"),
    ],
)
def test_bad_input_leaves_the_cells_alone(parting, options, message):
    with pytest.raises(ScnodeError, match=message):
        scnode.tl.attribution(parting, **options)
    with pytest.raises(ScnodeError, match="No attribution is stored"):
        scnode.get.attribution(parting)


def test_an_unknown_fate(attributed):
    with pytest.raises(ScnodeError, match="Did you mean 'left'"):
        scnode.get.attribution(attributed, fate="lef")
