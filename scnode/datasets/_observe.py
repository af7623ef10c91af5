"""From true states to an observed AnnData."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scnode._errors import ScnodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from ._network import Network

SIZE_SD = 0.3
DISPERSION = 0.05


@dataclass(frozen=True)
class Sampling:
    """How molecules are caught: mean spliced total per cell, or the abundances themselves."""

    counts: bool
    depth: float


@dataclass(frozen=True)
class Simulated:
    """True states (cells, 2, genes) of a network and what is known of every cell."""

    name: str
    network: Network
    state: NDArray[np.float64]
    obs: dict[str, Any]
    parameters: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)
    uns: dict[str, Any] = field(default_factory=dict)


def check_request(name: str, *, n_cells: int, n_genes: int, core: int, noise: float, depth: float) -> None:
    """Refuse sizes and strengths that no simulation can have."""
    call = f"scnode.datasets.{name}"
    if n_cells < 1:
        raise ScnodeError(f"n_cells={n_cells} leaves nothing to simulate; call {call}(n_cells=1) or more.")
    if n_genes < core:
        msg = f"n_genes={n_genes} is fewer than the {core} core regulators; call {call}(n_genes={core}) or more."
        raise ScnodeError(msg)
    if not (np.isfinite(noise) and noise >= 0):
        raise ScnodeError(f"noise={noise} is not a strength; call {call}(noise=0) for none, or a positive number.")
    if not (np.isfinite(depth) and depth > 0):
        msg = f"depth={depth} catches no molecules; call {call}(depth=...) with a positive mean total per cell."
        raise ScnodeError(msg)


def observe(simulated: Simulated, sampling: Sampling, rng: np.random.Generator) -> AnnData:
    """Sample counts and lay out the AnnData common to all data sets."""
    import pandas as pd
    from anndata import AnnData

    observed, caught = _sample(simulated.state, sampling, rng)
    unspliced, spliced = (sparse.csr_matrix(observed[:, k].astype(np.float32)) for k in (0, 1))
    obs = pd.DataFrame(simulated.obs, index=[f"cell_{i}" for i in range(len(simulated.state))])
    adata = AnnData(X=spliced.copy(), obs=obs, var=_var(simulated.network))
    adata.layers["spliced"] = spliced
    adata.layers["unspliced"] = unspliced
    adata.layers["true_spliced"] = simulated.state[:, 1].astype(np.float32)
    adata.layers["true_unspliced"] = simulated.state[:, 0].astype(np.float32)
    adata.layers["true_velocity"] = simulated.network.drift(simulated.state)[:, 1].astype(np.float32)
    adata.uns["simulation"] = {
        "name": simulated.name,
        "parameters": {**simulated.parameters, "counts": sampling.counts, "depth": float(sampling.depth)},
        "time_unit": "h",
        "count_scale": caught,
        "network": simulated.network.frame(),
        **simulated.extra,
    }
    adata.uns.update(simulated.uns)
    return adata


def _sample(
    state: NDArray[np.float64], sampling: Sampling, rng: np.random.Generator
) -> tuple[NDArray[np.float64], float]:
    if not sampling.counts:
        return state, 1.0
    caught = sampling.depth / state[:, 1].sum(axis=1).mean()
    size = rng.lognormal(-(SIZE_SD**2) / 2, SIZE_SD, size=(len(state), 1, 1))
    # A gamma-Poisson mixture is the negative binomial with variance m + DISPERSION * m**2.
    burst = rng.gamma(1 / DISPERSION, DISPERSION, size=state.shape)
    return rng.poisson(caught * size * burst * state).astype(np.float64), float(caught)


def _var(network: Network) -> pd.DataFrame:
    import pandas as pd

    columns = {
        "alpha_max": network.alpha_max,
        "beta": network.beta,
        "gamma": network.gamma,
        "role": pd.Categorical(network.roles),
    }
    return pd.DataFrame(columns, index=list(network.names))


def categorical(values: NDArray[Any], categories: list[str]) -> pd.Categorical:
    """Labels over a fixed list of which those never seen are dropped."""
    import pandas as pd

    return pd.Categorical(values, categories=categories).remove_unused_categories()


def start_states(
    network: Network, spliced: Mapping[str, float], n: int, spread: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Start states: given shares of `s_max` for some genes, the rest in balance with them, times a lognormal spread.

    Returns shape (n, 2, genes).
    """
    level = np.zeros(network.n_genes)
    given = [network.index(name) for name in spliced]
    level[given] = np.array(list(spliced.values())) * network.s_max[given]
    balance = network.rates(level[None])[0] / network.gamma
    balance[given] = level[given]
    pair = np.stack([balance * network.gamma / network.beta, balance])
    return pair * rng.lognormal(0.0, spread, size=(n, 2, network.n_genes))
