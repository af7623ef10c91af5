import logging
import os

# Arrays here are small, and threads wait for each other by spinning. Numba's parallel functions, which scanpy calls,
# set the number of all of a process.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scnode

scnode.settings.verbosity = 1


@pytest.fixture(autouse=True)
def _heard(monkeypatch):
    """What is logged reaches `caplog`, which listens at the root."""
    monkeypatch.setattr(logging.getLogger("scnode"), "propagate", True)


@pytest.fixture(scope="session")
def line():
    """200 cells along a curve in 12 genes, with a pseudotime."""
    rng = np.random.default_rng(0)
    time = np.sort(rng.uniform(size=200))
    shape = np.stack([np.sin(time * (1 + i / 4)) + 1 for i in range(12)], axis=1)
    x = (shape + rng.normal(0, 0.02, shape.shape)).clip(0).astype(np.float32)
    obs = pd.DataFrame({"pseudotime": time}, index=[f"c{i}" for i in range(200)])
    adata = ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(12)]))
    adata.obsm["X_umap"] = np.stack([time, time**2], axis=1)
    return adata


@pytest.fixture(scope="session")
def fitted(line):
    """`line` after a short fit."""
    adata = line.copy()
    with scnode.settings.override(verbosity=0):
        scnode.tl.fit(adata, n_latent=3, n_members=3, max_epochs=60)
    return adata
