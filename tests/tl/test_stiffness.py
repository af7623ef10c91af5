import anndata as ad
import numpy as np
import pytest
import torch

import scnode
from scnode import ScnodeError


def test_time_scales_are_those_of_the_jacobian(double_well):
    out = scnode.tl.stiffness(double_well, copy=True)
    fast, slow = out.obs["scnode_fast_time"].to_numpy(), out.obs["scnode_slow_time"].to_numpy()
    np.testing.assert_allclose(out.obs["scnode_stiffness"], slow / fast)
    model = scnode.get.model(out)
    states = torch.as_tensor(out.obsm["X_scnode"])
    with torch.no_grad():
        values = np.linalg.eigvals(model.field.jacobian(torch.zeros(()), states).double().numpy())
    rates = np.sort(np.abs(values.real), axis=1)
    np.testing.assert_allclose(1 / fast, rates[:, -1], rtol=1e-4)
    np.testing.assert_allclose(1 / slow, rates[:, 0], rtol=1e-3)
    record = out.uns["scnode"]["stiffness"]
    assert record["solver"] == "dopri5"
    assert record["stiff"] == 0
    assert "modes" not in record


def test_a_stiff_field_asks_for_another_solver(double_well):
    """Two thousand times as fast along one axis."""
    adata = double_well.copy()
    model = scnode.get.model(adata)
    with torch.no_grad():
        last = model.field.weights[-1]
        for weight in model.field.weights:
            weight.zero_()
        model.field.weights[0][:, :2, :2] = torch.eye(2)
        model.field.weights[1][:, :2, :2] = torch.eye(2)
        last[:, 0, 0], last[:, 1, 1] = -1.0, -2000.0
        for bias in model.field.biases:
            bias.zero_()
    adata.uns["scnode"]["model"] = model.to_arrays()
    scnode.tl.stiffness(adata)
    record = adata.uns["scnode"]["stiffness"]
    assert record["solver"] in ("auto", "rodas5p")
    assert record["stiff"] > 0
    assert record["ratio"] > 500


def test_genes_carry_the_modes(fitted, tmp_path):
    out = scnode.tl.stiffness(fitted, copy=True)
    modes = out.uns["scnode"]["stiffness"]["modes"]
    assert modes.groupby("mode").size().to_dict() == {"fast": 12, "slow": 12}
    np.testing.assert_allclose(modes.groupby("mode")["loading"].apply(lambda x: (x**2).sum()), 1, rtol=1e-5)
    assert set(modes["gene"]) == set(fitted.var_names)
    out.write_h5ad(tmp_path / "a.h5ad")
    assert ad.read_h5ad(tmp_path / "a.h5ad").uns["scnode"]["stiffness"]["modes"].equals(modes)


def test_a_length_that_is_not_positive(fitted):
    with pytest.raises(ScnodeError, match="must be positive"):
        scnode.tl.stiffness(fitted, t=0.0)
    assert "scnode_stiffness" not in fitted.obs
