"""What becomes of simulated cells, in the latent space of a fit."""

from __future__ import annotations

import importlib

import anndata as ad
import numpy as np
import torch

import scnode
from scnode.datasets._integrate import integrate
from scnode.datasets._network import Network
from scnode.datasets._observe import DISPERSION, SIZE_SD

# With few draws the truth is as noisy as the forecasts.
_N_DRAWS = 100


def network(adata: ad.AnnData, seed: int) -> Network:
    """The network of a simulation, which is drawn first of all from its seed."""
    module = importlib.import_module(f"scnode.datasets._{adata.uns['simulation']['name']}")
    return module.build_network(adata.n_vars, np.random.default_rng(seed))


def states(adata: ad.AnnData) -> np.ndarray:
    """True states (cell, 2, gene)."""
    return np.stack([adata.layers["true_unspliced"], adata.layers["true_spliced"]], axis=1).astype(float)


def count(state: np.ndarray, adata: ad.AnnData, rng: np.random.Generator) -> np.ndarray:
    """Counts of states, as the simulation samples them."""
    size = rng.lognormal(-(SIZE_SD**2) / 2, SIZE_SD, size=(len(state), 1))
    burst = rng.gamma(1 / DISPERSION, DISPERSION, size=state[:, 1].shape)
    return rng.poisson(adata.uns["simulation"]["count_scale"] * size * burst * state[:, 1]).astype(float)


def encode(counts: np.ndarray, adata: ad.AnnData) -> np.ndarray:
    """Latent states of counts by the model of a fitted object."""
    encoder = scnode.get.model(adata)
    logs = np.log1p(1e4 * counts / np.maximum(counts.sum(1, keepdims=True), 1))
    columns = adata.var_names.get_indexer(encoder.genes)
    with torch.no_grad():
        return encoder.encoder.double().encode(torch.as_tensor(logs[:, columns])).numpy()


def futures(
    state: np.ndarray, adata: ad.AnnData, net: Network, hours: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Mean latent state of what would be counted so many hours later, without further noise (cell, hour, latent)."""
    found = []
    for later in hours:
        ahead = integrate(net, state, float(later)) if later > 0 else state
        found.append(np.mean([encode(count(ahead, adata, rng), adata) for _ in range(_N_DRAWS)], axis=0))
    return np.stack(found, axis=1)
