"""Three genes that repress each other in a ring and never come to rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._random import random_source

from ._build import NetworkBuilder, Regulation
from ._integrate import integrate
from ._observe import Sampling, Simulated, categorical, check_request, observe, start_states

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ._network import Network

CLOCK = ("Clock_TF1", "Clock_TF2", "Clock_TF3")
N_PERIODS = 2
_TRANSIENT = 60.0
_STEP = 0.04
_SCAN = 0.1
_N_SCAN = 400
_GRID = 720


def limit_cycle(
    *,
    n_cells: int = 2000,
    n_genes: int = 100,
    noise: float = 0.05,
    counts: bool = True,
    depth: float = 300.0,
    rng: int | np.random.Generator | None = 0,
) -> AnnData:
    r"""Simulate a sustained oscillation that drives targets at all phases.

    A repressilator [1]_ of three regulators in

    .. math::

        \dot u_i = \alpha_i(s) - \beta_i u_i, \qquad \dot s_i = \beta_i u_i - \gamma_i s_i, \qquad
        \alpha_i = \alpha^{\max}_i \bigl(1 + (s_{i-1} / K)^4\bigr)^{-1}

    for the ring and Hill-type activation by it for the targets. Every cell starts on the deterministic cycle
    and runs its own uniform time of up to two periods, with Langevin noise where `noise` is positive.

    Parameters
    ----------
    n_cells
        Number of cells.
    n_genes
        Number of genes, at least 3; one follower in five is inert.
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
        - `obs['true_time']` in hours since the start on the cycle; `obs['true_phase']` in [0, 2 pi), that of the
          point of the deterministic cycle nearest to the cell's clock; `obs['true_fate']`, always Cycle;
          `obs['clusters']`, the third of the cycle: Phase1, Phase2, Phase3.
        - `var['alpha_max']`, `var['beta']`, `var['gamma']` (molecules per hour, per hour, per hour),
          `var['role']`, one of regulator, target, inert.
        - `uns['simulation']`: name, parameters, time_unit, count_scale (molecules caught per molecule), period in
          hours, and `network`, a table of regulator, target, sign.

    Raises
    ------
    ScnodeError
        Where a size, `noise` or `depth` is out of range.

    References
    ----------
    .. [1] Elowitz & Leibler, A synthetic oscillatory network of transcriptional regulators, Nature 403 (2000).
    """
    check_request("limit_cycle", n_cells=n_cells, n_genes=n_genes, core=len(CLOCK), noise=noise, depth=depth)
    generator = random_source(rng)
    network = build_network(n_genes, generator)
    origin, period = find_cycle(network)
    time = generator.uniform(0.0, N_PERIODS * period, n_cells)
    start = np.repeat(origin, n_cells, axis=0)
    state = integrate(network, start, time, noise=noise, step=_STEP, rng=generator)
    phase = _phase(network, state, origin, period)
    columns: dict[str, Any] = {
        "true_time": time,
        "true_phase": phase,
        "true_fate": categorical(np.full(n_cells, "Cycle"), ["Cycle"]),
        "clusters": categorical(
            np.array(["Phase1", "Phase2", "Phase3"])[(phase * 3 / (2 * np.pi)).astype(int)],
            ["Phase1", "Phase2", "Phase3"],
        ),
    }
    simulated = Simulated(
        name="limit_cycle",
        network=network,
        state=state,
        obs=columns,
        parameters={"n_cells": n_cells, "n_genes": n_genes, "noise": float(noise)},
        extra={"period": period},
    )
    return observe(simulated, Sampling(counts, depth), generator)


def build_network(n_genes: int, rng: np.random.Generator) -> Network:
    """Build the ring of three and its followers."""
    builder = NetworkBuilder(rng)
    for i, name in enumerate(CLOCK):
        ring = [Regulation(CLOCK[i - 1], -1, 0.08, 4)]
        builder.add(name, ring, role="regulator", gamma=0.6, splicing=2.0, level=16.0)
    numbers = {"Cycle_Target": 0, "Inert": 0}
    for k in range(n_genes - len(CLOCK)):
        kind = "Inert" if k % 5 == 4 else "Cycle_Target"
        numbers[kind] += 1
        inputs = [] if kind == "Inert" else builder.draw_inputs(CLOCK)
        role = "inert" if kind == "Inert" else "target"
        builder.add(f"{kind}_{numbers[kind]}", inputs, role=role, constitutive=rng.uniform(0.3, 0.7))
    return builder.build()


def find_cycle(network: Network) -> tuple[NDArray[np.float64], float]:
    """Find a state (1, 2, genes) on the cycle, where the first clock gene rises through its mean, and the period."""
    state = start_states(network, dict(zip(CLOCK, (0.5, 0.2, 0.05), strict=True)), 1, 0.0, np.random.default_rng(0))
    state = integrate(network, state, _TRANSIENT, step=_STEP)
    genes = network.upstream(CLOCK)
    clock = network.subnetwork(genes)
    time: NDArray[np.float64] = np.arange(_N_SCAN, dtype=np.float64) * _SCAN
    path = integrate(clock, np.repeat(state[:, :, genes], _N_SCAN, axis=0), time, step=_STEP)[:, 1, 0]
    level = path.mean()
    up = np.flatnonzero((path[:-1] < level) & (path[1:] >= level))[:2]
    crossing = (up + (level - path[up]) / (path[up + 1] - path[up])) * _SCAN
    return integrate(network, state, crossing[0], step=_STEP), float(crossing[1] - crossing[0])


def _phase(
    network: Network, state: NDArray[np.float64], origin: NDArray[np.float64], period: float
) -> NDArray[np.float64]:
    from scipy.spatial import cKDTree

    genes = network.upstream(CLOCK)
    clock = network.subnetwork(genes)
    angle = np.arange(_GRID) * 2 * np.pi / _GRID
    start = np.repeat(origin[:, :, genes], _GRID, axis=0)
    cycle = integrate(clock, start, angle / (2 * np.pi) * period, step=_STEP)
    # Unspliced levels are smaller; each half is put on its own scale.
    tree = cKDTree((cycle / clock.level_scale).reshape(_GRID, -1))
    return angle[tree.query((state[:, :, genes] / clock.level_scale).reshape(len(state), -1))[1]]
