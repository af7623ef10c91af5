"""A differentiation whose genes live on two time scales."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._random import random_source

from ._build import NetworkBuilder, Regulation
from ._integrate import integrate
from ._observe import Sampling, Simulated, categorical, check_request, observe, start_states

if TYPE_CHECKING:
    from anndata import AnnData

    from ._network import Network

DURATION = 15.0
_CORE = ("Slow_TF1", "Slow_TF2", "Slow_TF3", "Fast_TF1")
_START = {"Slow_TF1": 1.0}
_SPREAD = 0.2
_STEP = 0.02


def stiff(
    *,
    n_cells: int = 1000,
    n_genes: int = 60,
    ratio: float = 1e3,
    noise: float = 0.0,
    counts: bool = True,
    depth: float = 180.0,
    rng: int | np.random.Generator | None = 0,
) -> AnnData:
    r"""Simulate a differentiation in which some genes relax `ratio` times faster than the others.

    .. math::

        \dot u_i = r_i (\alpha_i(s) - \beta_i u_i), \qquad \dot s_i = r_i (\beta_i u_i - \gamma_i s_i)

    with :math:`r_i` = `ratio` for fast genes, one regulator among them, and 1 for slow genes, so that the
    cells run along the slow manifold of the fast genes [1]_. The integrator solves the linear part exactly
    and is of second order in the slow one; its step does not depend on `ratio`.

    Parameters
    ----------
    n_cells
        Number of cells, taken at uniform times over 15 h.
    n_genes
        Number of genes, at least 4; every third follower is fast.
    ratio
        Rates of fast genes over those of slow ones, greater than 1.
    noise
        Coefficient of variation that the Langevin noise gives a fully induced gene; 0 for none.
    counts
        Whether `X`, `spliced` and `unspliced` are negative binomial counts or the exact abundances.
    depth
        Mean number of spliced molecules caught per cell; unspliced ones are caught at the same rate.
    rng
        Seed or generator; the same seed gives the same bits.

    Returns
    -------
    AnnData
        With these fields:

        - `X`, `layers['spliced']`, `layers['unspliced']`: CSR, float32.
        - `layers['true_spliced']`, `layers['true_unspliced']`: abundances in molecules.
        - `layers['true_velocity']`: noise-free :math:`\dot s` at the cell's state, molecules per hour.
        - `obs['true_time']` in hours; `obs['true_fate']`, always Mature; `obs['clusters']`, one of Progenitor,
          Early, Mature by the regulators on.
        - `var['alpha_max']`, `var['beta']`, `var['gamma']` (molecules per hour, per hour, per hour; `ratio`
          included), `var['role']`, one of regulator, target, inert, and `var['fast']`.
        - `uns['simulation']`: name, parameters, time_unit, count_scale (molecules caught per molecule), duration,
          and `network`, a table of regulator, target, sign.

    Raises
    ------
    ScnodeError
        Where a size, `ratio`, `noise` or `depth` is out of range.

    References
    ----------
    .. [1] Hairer & Wanner, Solving Ordinary Differential Equations II, Springer (1996).
    """
    check_request("stiff", n_cells=n_cells, n_genes=n_genes, core=len(_CORE), noise=noise, depth=depth)
    if not (np.isfinite(ratio) and ratio > 1):
        msg = f"ratio={ratio} does not separate two time scales; call scnode.datasets.stiff(ratio=1e3) or above 1."
        raise ScnodeError(msg)
    generator = random_source(rng)
    network = build_network(n_genes, ratio, generator)
    time = generator.uniform(0.0, DURATION, n_cells)
    start = start_states(network, _START, n_cells, _SPREAD, generator)
    state = integrate(network, start, time, noise=noise, step=_STEP, rng=generator)
    second, third = (state[:, 1, network.index(n)] / network.s_max[network.index(n)] for n in _CORE[1:3])
    stage = np.where(third > 0.25, "Mature", np.where(second > 0.25, "Early", "Progenitor"))
    columns: dict[str, Any] = {
        "true_time": time,
        "true_fate": categorical(np.full(n_cells, "Mature"), ["Mature"]),
        "clusters": categorical(stage, ["Progenitor", "Early", "Mature"]),
    }
    simulated = Simulated(
        name="stiff",
        network=network,
        state=state,
        obs=columns,
        parameters={"n_cells": n_cells, "n_genes": n_genes, "ratio": float(ratio), "noise": float(noise)},
        extra={"duration": DURATION},
    )
    adata = observe(simulated, Sampling(counts, depth), generator)
    adata.var["fast"] = [name.startswith("Fast") for name in network.names]
    return adata


def build_network(n_genes: int, ratio: float, rng: np.random.Generator) -> Network:
    """Build a slow cascade, a fast regulator within it, and slow, fast and inert followers."""
    builder = NetworkBuilder(rng)
    fixed: dict[str, Any] = {"role": "regulator", "splicing": 4.0, "level": 10.0, "gamma": 0.6}
    builder.add("Slow_TF1", constitutive=0.01, **fixed)
    builder.add("Slow_TF2", [Regulation("Slow_TF1", -1, 0.3)], **fixed)
    builder.add("Slow_TF3", [Regulation("Fast_TF1", 1, 0.5)], **fixed)
    builder.add("Fast_TF1", [Regulation("Slow_TF2", 1, 0.4)], rate_factor=ratio, **fixed)
    kinds = ("Slow_Target", "Slow_Target", "Fast_Target", "Slow_Target", "Inert", "Fast_Target")
    numbers = dict.fromkeys(kinds, 0)
    for k in range(n_genes - len(_CORE)):
        kind = kinds[k % len(kinds)]
        numbers[kind] += 1
        inert = kind == "Inert"
        inputs = [] if inert else builder.draw_inputs(_CORE[:3])
        builder.add(
            f"{kind}_{numbers[kind]}",
            inputs,
            role="inert" if inert else "target",
            constitutive=rng.uniform(0.3, 0.7),
            rate_factor=ratio if kind == "Fast_Target" else 1.0,
        )
    return builder.build()
