import numpy as np
import pytest
import torch

import scnode
from scnode import ScnodeError
from scnode.datasets._integrate import integrate
from scnode.datasets._network import Network
from scnode.datasets._true_velocity import encoded_truth


@pytest.fixture(scope="module")
def fitted():
    adata = scnode.datasets.bifurcation(n_cells=300, n_genes=40, rng=100)
    adata.obs["hours"] = adata.obs["true_time"].astype(float)
    scnode.tl.fit(adata, pseudotime_key="hours", n_latent=4, n_members=1, max_epochs=2)
    return adata


def test_it_is_the_spread_that_the_simulator_gives_a_short_step(fitted, monkeypatch):
    """Many runs of 0.01 h from one cell: the spread of their latent states over the root of the time."""
    kept = {}
    run = Network.drift
    monkeypatch.setattr(Network, "drift", lambda self, state: kept.setdefault("network", self) and run(self, state))
    scnode.datasets.bifurcation(n_cells=300, n_genes=40, rng=100)
    cell, h = 150, 0.01
    state = np.stack([np.asarray(fitted.layers[f"true_{kind}"])[cell] for kind in ("unspliced", "spliced")])
    starts = np.repeat(state[None].astype(float), 20_000, axis=0)
    ends = integrate(kept["network"], starts, h, noise=0.05, step=h, rng=np.random.default_rng(0))
    encode = encoded_truth(fitted, "scnode")[1]
    with torch.no_grad():
        spread = encode(torch.from_numpy(ends[:, 1])).std(0).numpy()
    np.testing.assert_allclose(scnode.datasets.true_diffusion(fitted)[cell], spread / np.sqrt(h), rtol=0.05)


def test_it_grows_with_the_noise_of_the_simulation(fitted):
    louder = fitted.copy()
    louder.uns["simulation"] = {**fitted.uns["simulation"], "parameters": {"noise": 0.1}}
    ratio = scnode.datasets.true_diffusion(louder) / scnode.datasets.true_diffusion(fitted)
    np.testing.assert_allclose(ratio, 2.0)


def test_what_has_no_langevin_noise_is_told(fitted, line):
    silent = fitted.copy()
    silent.uns["simulation"] = {**fitted.uns["simulation"], "parameters": {}}
    with pytest.raises(ScnodeError, match=r"scnode\.datasets\.bifurcation"):
        scnode.datasets.true_diffusion(silent)
    with pytest.raises(ScnodeError, match=r"scnode\.datasets"):
        scnode.datasets.true_diffusion(line)
