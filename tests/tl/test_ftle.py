import anndata as ad
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import scnode
from scnode import ScnodeError, ode


def test_the_ridge_lies_on_the_separatrix(double_well):
    out = scnode.tl.ftle(double_well, horizon=0.1, copy=True)
    away = np.abs(out.obsm["X_plane"][:, 0])
    values = out.obs["scnode_ftle"].to_numpy()
    top = values > np.quantile(values, 0.9)
    assert away[top].mean() < 0.4 * away.mean()
    assert values[top].min() > 0 > values[away > 0.9].max()


def test_values_are_those_of_the_flow_map_by_finite_differences(double_well):
    out = scnode.tl.ftle(double_well, horizon=0.3, copy=True)
    model = scnode.get.model(out).double()
    states = torch.as_tensor(out.obsm["X_scnode"][:5]).double()
    ts = torch.tensor([0.0, 0.3]).double()

    def end(y):
        return ode.solve(model.field.mean, y, ts, rtol=1e-9, atol=1e-11).ys[:, -1]

    with torch.no_grad():
        columns = [(end(states + h) - end(states - h)) / 2e-5 for h in 1e-5 * torch.eye(2).double()]
    stretch = torch.linalg.svdvals(torch.stack(columns, 2))[:, 0]
    np.testing.assert_allclose(out.obs["scnode_ftle"][:5], stretch.log() / 0.3, atol=2e-3)


def test_across_the_flow_the_separatrix_stays_and_running_ahead_does_not(double_well):
    whole = scnode.tl.ftle(double_well, horizon=0.1, copy=True).obs["scnode_ftle"].to_numpy()
    out = scnode.tl.ftle(double_well, horizon=0.1, across=True, copy=True)
    across = out.obs["scnode_ftle"].to_numpy()
    assert out.uns["scnode"]["ftle"]["across"]
    assert (across <= whole + 1e-3).all()
    x, y = np.abs(out.obsm["X_plane"]).T
    # Between saddle and well a cell that leaves later is only late; across the separatrix cells are lost to each other.
    ahead, divided = (x > 0.15) & (x < 0.4) & (y < 0.1), (x < 0.05) & (y > 0.4)
    assert np.median(whole[ahead]) > 0 > np.median(across[ahead])
    assert np.median(across[divided]) > 0.8 * np.median(whole[divided]) > 0


def test_backward_in_time_ridges_attract(double_well):
    out = scnode.tl.ftle(double_well, direction="backward", horizon=0.3, copy=True)
    values = out.obs["scnode_ftle"].to_numpy()
    near = np.linalg.norm(np.abs(out.obsm["X_plane"]) - [1, 0], axis=1) < 0.3
    assert np.nanmedian(values[near]) > 0
    record = out.uns["scnode"]["ftle"]
    assert (record["direction"], record["horizon"], record["n_directions"]) == ("backward", 0.3, 0)
    assert record["n_lost"] == np.isnan(values).sum()


def test_confined_to_the_manifold_fewer_directions_part(double_well):
    whole = scnode.tl.ftle(double_well, copy=True).obs["scnode_ftle"]
    both = scnode.tl.ftle(double_well, n_directions=2, copy=True).obs["scnode_ftle"]
    one = scnode.tl.ftle(double_well, n_directions=1, copy=True).obs["scnode_ftle"]
    np.testing.assert_allclose(whole, both, atol=1e-3)
    assert (one <= whole + 1e-3).all()
    assert (one < whole - 0.01).mean() > 0.2


def test_results_survive_a_file_and_a_far_horizon_warns(double_well, tmp_path, caplog):
    out = scnode.tl.ftle(double_well[:40].copy(), horizon=3.0, copy=True)
    assert "flow leaves the cells" in caplog.text
    out.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    assert again.obs["scnode_ftle"].equals(out.obs["scnode_ftle"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0.0}, "must be positive"),
        ({"horizon": -1.0}, "direction='backward'"),
        ({"horizon": np.inf}, "must be positive"),
        ({"direction": "back"}, "Pass 'forward' or 'backward'"),
        ({"n_directions": 3}, "between 1 and 2"),
    ],
)
def test_bad_input_leaves_the_cells_alone(double_well, options, message):
    with pytest.raises(ScnodeError, match=message):
        scnode.tl.ftle(double_well, **options)
    assert "scnode_ftle" not in double_well.obs


@pytest.mark.slow
def test_undecided_cells_part_fastest():
    adata = scnode.datasets.bifurcation(n_cells=1500, n_futures=50, rng=12)
    scnode.tl.fit(adata)
    scnode.tl.ftle(adata)
    share = np.asarray(adata.obsm["true_fate_probability"])
    entropy = -(share * np.log(share + 1e-12)).sum(1)
    undecided = entropy > 0.8 * entropy.max()
    assert roc_auc_score(undecided, adata.obs["scnode_ftle"]) > 0.85
