import anndata as ad
import numpy as np
import pytest
from scipy.stats import spearmanr

import scnode


@pytest.fixture(scope="module")
def downhill(line):
    adata = line.copy()
    scnode.tl.fit(adata, n_latent=3, n_members=2, max_epochs=60, field="gradient")
    return adata


def test_cells_have_a_potential_that_falls_with_time(downhill):
    height = downhill.obs["scnode_potential"].to_numpy()
    assert height.min() == 0
    assert spearmanr(height, downhill.obs["pseudotime"]).statistic < -0.9


def test_the_potential_falls_along_trajectories_by_the_work_of_the_field(downhill, tmp_path):
    scnode.tl.trajectories(downhill, t=0.8, n_steps=400)
    downhill.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    field, run = scnode.get.model(again).field, again.uns["scnode"]
    import torch

    paths = torch.from_numpy(run["trajectories"]["latent"][:, 0])
    with torch.no_grad():
        height = field.potential(paths.flatten(0, 1)).unflatten(0, paths.shape[:2]).numpy()
        speed = field.mean(torch.zeros(()), paths.flatten(0, 1)).unflatten(0, paths.shape[:2]).norm(dim=2).numpy()
    assert (np.diff(height, axis=1) <= 1e-4 * np.ptp(height)).all()
    work = np.trapezoid(speed**2, run["trajectories"]["t"], axis=1)
    np.testing.assert_allclose(height[:, 0] - height[:, -1], work, rtol=1e-2)
    shift = (
        downhill.obs["scnode_potential"].to_numpy()
        - field.potential(torch.from_numpy(again.obsm["X_scnode"])).detach().numpy()
    )
    np.testing.assert_allclose(shift, shift.mean(), atol=1e-4 * np.ptp(height))


def test_the_report_holds_the_shares(downhill, line):
    assert downhill.uns["scnode"]["report"]["field"] == {"potential": pytest.approx(1), "circulation": 0, "cosine": 0}
    out = scnode.tl.fit(line, n_latent=3, n_members=1, max_epochs=2, field="gradient+circulation", copy=True)
    assert set(out.uns["scnode"]["report"]["field"]) == {"potential", "circulation", "cosine"}
    assert out.uns["scnode"]["params"]["field"] == "gradient+circulation"
    assert "scnode_potential" in out.obs


def test_no_potential_stays_beside_a_field_that_has_none(downhill):
    again = downhill.copy()
    scnode.tl.fit(again, n_latent=3, n_members=1, max_epochs=1)
    assert "scnode_potential" not in again.obs
    assert "field" not in again.uns["scnode"]["report"]
