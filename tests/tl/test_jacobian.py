import anndata as ad
import numpy as np
import pytest
import torch

import scnode
from scnode import ScnodeError


@pytest.fixture(scope="module")
def measured(fitted):
    return scnode.tl.jacobian(fitted, regulators=["g0", "g3"], effectors=["g1"], copy=True)


def test_latent_measures_match_finite_differences(fitted, measured):
    model = scnode.get.model(fitted).double()
    states = torch.as_tensor(fitted.obsm["X_scnode"][:5]).double()
    step = 1e-5 * torch.eye(model.n_latent, dtype=torch.float64)
    with torch.no_grad():
        columns = [(model.velocity(states + h)[0] - model.velocity(states - h)[0]) / 2e-5 for h in step]
    jacobians = torch.stack(columns, dim=2).numpy()
    np.testing.assert_allclose(measured.obs["scnode_divergence"][:5], np.trace(jacobians, axis1=1, axis2=2), rtol=1e-3)
    np.testing.assert_allclose(
        measured.obs["scnode_jacobian_norm"][:5], np.linalg.norm(jacobians, 2, (1, 2)), rtol=1e-3
    )
    loadings = model.encoder.components.numpy()
    expected = loadings[1] @ jacobians @ loadings[[0, 3]].T
    np.testing.assert_allclose(measured.uns["scnode"]["jacobian"]["values"][:5, 0], expected, rtol=1e-3, atol=1e-4)


def test_eigenvalues_sum_to_the_divergence(measured):
    real, imaginary = np.split(measured.obsm["scnode_eigenvalues"], 2, axis=1)
    np.testing.assert_allclose(real.sum(1), measured.obs["scnode_divergence"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(imaginary.sum(1), 0, atol=1e-4)
    assert (np.diff(real, axis=1) <= 0).all()


def test_table_survives_a_file(measured, tmp_path):
    table = scnode.get.jacobian(measured)
    assert list(table.columns) == ["regulator", "effector", "mean", "sd"]
    assert len(table) == 2
    measured.write_h5ad(tmp_path / "a.h5ad")
    assert scnode.get.jacobian(ad.read_h5ad(tmp_path / "a.h5ad")).equals(table)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"regulators": ["g0"]}, "both sides"),
        ({"regulators": "g0", "effectors": "g1"}, r"\['A'\]"),
        ({"regulators": ["g00"], "effectors": ["g1"]}, "Did you mean"),
    ],
)
def test_bad_genes(fitted, options, fix):
    with pytest.raises(ScnodeError, match=fix):
        scnode.tl.jacobian(fitted, **options)
    with pytest.raises(ScnodeError, match="No gene-level Jacobian"):
        scnode.get.jacobian(fitted)
