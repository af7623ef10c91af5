"""Every later version reads what an earlier one wrote: files of each are kept, as it wrote them."""

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import torch

import scnode

FILES = sorted((Path(__file__).parent / "stored").glob("scnode_*.h5ad"))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def earlier(request):
    return ad.read_h5ad(request.param)


def test_there_are_files_of_every_version():
    assert FILES
    assert all(path.stat().st_size < 200_000 for path in FILES)


def test_the_model_says_what_it_said(earlier):
    with torch.no_grad():
        velocity, _ = scnode.get.model(earlier).velocity(torch.as_tensor(earlier.obsm["X_scnode"]))
    np.testing.assert_allclose(velocity, earlier.obsm["velocity_scnode"], rtol=1e-4, atol=1e-5)


def test_new_cells_are_placed_where_the_old_were(earlier):
    again = scnode.tl.map(earlier, earlier, copy=True)
    np.testing.assert_allclose(again.obsm["X_scnode"], earlier.obsm["X_scnode"], rtol=1e-3, atol=1e-4)


def test_trajectories_are_those_that_were_stored(earlier):
    before = earlier.uns["scnode"]["trajectories"]["latent"]
    scnode.tl.trajectories(earlier, n_steps=4, noise=False)
    np.testing.assert_allclose(earlier.uns["scnode"]["trajectories"]["latent"], before, rtol=1e-2, atol=1e-2)


def test_its_report_and_history_are_read(earlier):
    assert len(scnode.get.agreement(earlier)) == 1
    assert set(earlier.uns["scnode"]["history"]["stage"]) == {"regression", "polish", "noise"}
