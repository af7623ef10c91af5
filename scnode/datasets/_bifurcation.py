"""A progenitor that commits to one of two fates through a toggle switch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._build import NetworkBuilder, Regulation
from ._integrate import integrate
from ._knockout import knock_out_table
from ._observe import Sampling, Simulated, categorical, check_request, observe, start_states

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from ._network import Network

DURATION = 30.0
MASTERS = ("FateA_TF1", "FateB_TF1")
FATES = ["FateA", "FateB", "Undecided"]
_CORE = ("Prog_TF1", "Prog_TF2", "Commit_TF", *MASTERS, "FateA_TF2", "FateB_TF2", "FateA_TF3", "FateB_TF3")
_START = {"Prog_TF1": 1.0, "Prog_TF2": 0.9, "FateA_TF1": 0.2, "FateB_TF1": 0.2}
_SPREAD = 0.25
_N_TRAJECTORIES = 500
_N_BYSTANDERS = 20
_ON = 0.25
_LEVEL = 10.0


def bifurcation(
    *,
    n_cells: int = 2500,
    n_genes: int = 160,
    noise: float = 0.05,
    counts: bool = True,
    depth: float = 500.0,
    rng: int | np.random.Generator | None = 0,
) -> AnnData:
    r"""Simulate progenitors that commit to one of two fates.

    Every cell is the end of its own trajectory of

    .. math::

        \dot u_i = \alpha_i(s) - \beta_i u_i, \qquad \dot s_i = \beta_i u_i - \gamma_i s_i

    with Hill-type :math:`\alpha_i(s)` and, where `noise` is positive, Langevin noise on both. A progenitor
    programme decays, which frees `Commit_TF`; this induces `FateA_TF1` and `FateB_TF1`, which activate
    themselves and repress each other [1]_. Each drives a cascade of two more regulators, of which the first
    helps to repress the other master. Markers follow a fate and inert genes nothing: neither regulates.

    Parameters
    ----------
    n_cells
        Number of cells, taken at uniform times over 30 h.
    n_genes
        Number of genes, at least 9.
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
        - `obs['true_time']` in hours; `obs['true_fate']`, the fate that the cell's own state reaches without
          further noise; `obs['clusters']`, one of Progenitor, Early, FateA, FateB.
        - `var['alpha_max']`, `var['beta']`, `var['gamma']` (molecules per hour, per hour, per hour),
          `var['role']`, one of regulator, target, marker, inert.
        - `uns['simulation']`: name, parameters, time_unit, count_scale (molecules caught per molecule), duration,
          and `network`, a table of regulator, target, sign.
        - `uns['true_knockouts']`: gene, fate, control, knockout, log_fold_change (base 2) of the share of 500
          trajectories that reach each fate, for every regulator and up to 20 markers and inert genes.

    Raises
    ------
    ScnodeError
        Where a size, `noise` or `depth` is out of range.

    References
    ----------
    .. [1] Huang, Guo, May & Enver, Bifurcation dynamics in lineage-commitment in bipotent progenitor cells,
       Developmental Biology 305 (2007).
    """
    check_request("bifurcation", n_cells=n_cells, n_genes=n_genes, core=len(_CORE), noise=noise, depth=depth)
    generator = np.random.default_rng(rng)
    network = build_network(n_genes, generator)
    time = generator.uniform(0.0, DURATION, n_cells)
    start = start_states(network, _START, n_cells, _SPREAD, generator)
    state = integrate(network, start, time, noise=noise, rng=generator)
    simulated = Simulated(
        name="bifurcation",
        network=network,
        state=state,
        obs=_describe(network, state, time),
        parameters={"n_cells": n_cells, "n_genes": n_genes, "noise": float(noise)},
        extra={"duration": DURATION},
        uns={"true_knockouts": _knock_outs(network, noise, generator)},
    )
    return observe(simulated, Sampling(counts, depth), generator)


def build_network(n_genes: int, rng: np.random.Generator) -> Network:
    """Build the core of nine regulators and as many followers as `n_genes` leaves."""
    builder = NetworkBuilder(rng)
    _add_core(builder)
    programmes = {
        "Prog_Target": ("target", ("Prog_TF1", "Prog_TF2")),
        "Commit_Target": ("target", ("Commit_TF",)),
        "FateA_Target": ("target", ("FateA_TF1", "FateA_TF2", "FateA_TF3")),
        "FateB_Target": ("target", ("FateB_TF1", "FateB_TF2", "FateB_TF3")),
        "FateA_Marker": ("marker", ("FateA_TF1",)),
        "FateB_Marker": ("marker", ("FateB_TF1",)),
        "Inert": ("inert", ()),
    }
    # Dealt in turn, so that the smallest network has some of each.
    deal = [*programmes, "Prog_Target", "FateA_Target", "FateB_Target", "Inert", "FateA_Target", "FateB_Target"]
    numbers = dict.fromkeys(programmes, 0)
    for k in range(n_genes - len(_CORE)):
        kind = deal[k % len(deal)]
        numbers[kind] += 1
        role, regulators = programmes[kind]
        inputs = builder.draw_inputs(regulators) if regulators else []
        builder.add(f"{kind}_{numbers[kind]}", inputs, role=role, constitutive=rng.uniform(0.3, 0.7))
    return builder.build()


def _add_core(builder: NetworkBuilder) -> None:
    fixed: dict[str, Any] = {"role": "regulator", "splicing": 4.0, "level": _LEVEL}
    builder.add("Prog_TF1", constitutive=0.01, gamma=0.4, **fixed)
    builder.add("Prog_TF2", [Regulation("Prog_TF1", 1, 0.3)], gamma=0.6, **fixed)
    builder.add("Commit_TF", [Regulation("Prog_TF2", -1, 0.25)], gamma=0.6, **fixed)
    for own, other in (("FateA", "FateB"), ("FateB", "FateA")):
        inputs = [
            Regulation("Commit_TF", 1, 0.5, 4, 0.5),
            Regulation(f"{own}_TF1", 1, 0.3, 4, 0.5),
            Regulation(f"{other}_TF1", -1, 0.3, 4),
            Regulation(f"{other}_TF2", -1, 0.3, 2),
        ]
        builder.add(f"{own}_TF1", inputs, gamma=0.5, basal=0.02, **fixed)
    for stage in (2, 3):
        for own in ("FateA", "FateB"):
            builder.add(f"{own}_TF{stage}", [Regulation(f"{own}_TF{stage - 1}", 1, 0.4)], gamma=0.6, **fixed)


def fates(network: Network, state: NDArray[np.float64]) -> NDArray[np.str_]:
    """Name the master with the higher spliced level; Undecided where neither is a quarter of a full level."""
    a, b = (state[:, 1, network.index(name)] for name in MASTERS)
    return np.where(np.maximum(a, b) < _ON * _LEVEL, FATES[2], np.where(a > b, FATES[0], FATES[1]))


def _describe(network: Network, state: NDArray[np.float64], time: NDArray[np.float64]) -> dict[str, Any]:
    genes = network.upstream(MASTERS)
    deciders = network.subnetwork(genes)
    # Followers do not act back, so the deciders alone tell where a cell is bound.
    fate = fates(deciders, integrate(deciders, state[:, :, genes], DURATION * 1.5, step=0.1))
    commit, a, b = (state[:, 1, network.index(n)] / network.s_max[network.index(n)] for n in ("Commit_TF", *MASTERS))
    decided = (np.abs(a - b) > 0.6 * (a + b)) & (np.maximum(a, b) > _ON)
    cluster = np.where(commit < _ON, "Progenitor", np.where(decided, np.where(a > b, "FateA", "FateB"), "Early"))
    return {
        "true_time": time,
        "true_fate": categorical(fate, FATES),
        "clusters": categorical(cluster, ["Progenitor", "Early", "FateA", "FateB"]),
    }


def _knock_outs(network: Network, noise: float, rng: np.random.Generator) -> pd.DataFrame:
    start = start_states(network, _START, _N_TRAJECTORIES, _SPREAD, rng)
    bystanders = network.where("marker", "inert")
    chosen = rng.permutation(bystanders)[:_N_BYSTANDERS]
    genes = [*network.where("regulator").tolist(), *sorted(int(i) for i in chosen)]
    return knock_out_table(
        network,
        [network.names[i] for i in genes],
        start,
        duration=DURATION,
        noise=noise,
        readout=MASTERS,
        fates=fates,
        labels=FATES,
        seed=int(rng.integers(2**62)),
    )
