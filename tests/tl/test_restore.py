"""The pull back to the cells, and a field without it."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

import scnode
from scnode import ScnodeError

FAST = {"use_rep": "X_plane", "velocity_key": "out", "n_members": 1, "max_epochs": 60}


@pytest.fixture(scope="module")
def cells():
    """Cells that move away from the middle, ever faster."""
    states = np.random.default_rng(0).normal(size=(400, 2))
    obs = pd.DataFrame(index=[f"c{i}" for i in range(400)])
    return ad.AnnData(np.zeros((400, 1), np.float32), obs=obs, obsm={"X_plane": states, "out": states})


@pytest.fixture(scope="module")
def fits(cells):
    found = {}
    for restore in (True, False):
        found[restore] = cells.copy()
        scnode.tl.fit(found[restore], **FAST, restore=restore)
    return found


def far(adata):
    """How far out trajectories from the cells are after a long time."""
    scale = np.linalg.norm(adata.obsm["velocity_scnode"], axis=1).mean()
    scnode.tl.trajectories(adata, t=20 / scale)
    return np.linalg.norm(adata.uns["scnode"]["trajectories"]["latent"][..., -1, :], axis=-1)


def test_without_the_pull_trajectories_leave_the_cells(fits):
    rim = np.linalg.norm(fits[True].obsm["X_scnode"], axis=1).max()
    assert far(fits[True]).max() < 1.5 * rim
    assert np.median(far(fits[False])) > 3 * rim


def test_the_file_knows_that_there_is_no_rim(fits, tmp_path):
    fits[False].write_h5ad(tmp_path / "free.h5ad")
    read = ad.read_h5ad(tmp_path / "free.h5ad")
    assert read.uns["scnode"]["params"]["restore"] == False  # noqa: E712
    states = 100 * torch.randn(5, 2)
    mine, theirs = (scnode.get.model(a).field.mean(torch.zeros(()), states) for a in (fits[False], read))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_an_answer_that_is_none(cells):
    with pytest.raises(ScnodeError, match=r"restore=None is no answer\. Pass True or False"):
        scnode.tl.fit(cells, **FAST, restore=None)
