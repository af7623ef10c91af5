"""Every number comes from `rng`: no generator that others draw from is touched, and the same number gives the same."""

import random

import numpy as np
import pandas as pd
import pytest
import torch

import scnode
from scnode import ScnodeError

GROUPS = {"groupby": "part", "groups": ["early", "late"]}
CALLS = {
    "fit": lambda a: scnode.tl.fit(a, n_latent=3, n_members=2, max_epochs=4, encoder="autoencoder", noise=True),
    "trajectories": lambda a: scnode.tl.trajectories(a, n_steps=3, n_samples=3, noise=True),
    "fate": lambda a: scnode.tl.fate(a, **GROUPS),
    "perturb": lambda a: scnode.tl.perturb(a, {"g1": 0.0}, key_added="plain", **GROUPS),
    "ood": lambda a: scnode.tl.ood(a, key_added="plain"),
    "screen": lambda a: scnode.tl.screen(a, genes=["g1"], key_added="plain", **GROUPS),
    "velocity": lambda a: scnode.tl.velocity(a, basis="umap"),
    "fixed_points": scnode.tl.fixed_points,
    "datasets": lambda a: scnode.datasets.bifurcation(n_cells=20, n_genes=10),
}


def drawn():
    """What the global generators would give next."""
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002


@pytest.fixture(scope="module")
def ready(line):
    adata = line.copy()
    adata.obs["part"] = pd.Categorical(np.repeat(["early", "middle", "late"], [50, 100, 50]))
    CALLS["fit"](adata)
    scnode.tl.fit(adata, n_latent=3, n_members=2, max_epochs=2, key_added="plain")
    return adata


@pytest.mark.parametrize("name", sorted(CALLS))
def test_global_generators_are_left_alone_and_do_not_matter(ready, name):
    results = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        before, adata = drawn(), ready.copy()
        CALLS[name](adata)
        assert drawn() == before
        results.append(adata)
    one, other = results
    pd.testing.assert_frame_equal(one.obs, other.obs)
    for key in one.obsm:
        np.testing.assert_array_equal(np.asarray(one.obsm[key]), np.asarray(other.obsm[key]))


@pytest.mark.parametrize("rng", ["seed", -1, 1.5])
def test_what_is_no_source_is_refused(line, rng):
    with pytest.raises(ScnodeError, match=f"rng={rng!r}"):
        scnode.tl.fit(line, rng=rng)
