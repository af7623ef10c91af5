"""Simulate a differentiation in which masters of fates compete."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._random import random_source

from ._collection import LABELLING, SPREAD, check_collection, collect, run
from ._commitment import COMMIT, LEVEL
from ._futures import fate_probability
from ._integrate import integrate
from ._knockout import knock_out_table
from ._observe import Sampling, Simulated, categorical, check_request, observe, start_states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from ._network import Network

UNDECIDED = "Undecided"
_N_TRAJECTORIES = 500
_N_BYSTANDERS = 20
_ON = 0.25


@dataclass(frozen=True)
class Request:
    """What a user asks of a simulation."""

    n_cells: int
    n_genes: int
    noise: float
    counts: bool
    depth: float
    n_days: int | None
    n_clones: int | None
    n_futures: int

    def check(self, name: str, core: int) -> None:
        """Refuse what cannot be simulated."""
        check_request(name, n_cells=self.n_cells, n_genes=self.n_genes, core=core, noise=self.noise, depth=self.depth)
        call = f"scnode.datasets.{name}"
        check_collection(call, n_cells=self.n_cells, n_days=self.n_days, n_clones=self.n_clones)
        if not isinstance(self.n_futures, int | np.integer) or self.n_futures < 0:
            msg = f"n_futures={self.n_futures} is not a number; call {call}(n_futures=100), or 0 for no probabilities."
            raise ScnodeError(msg)

    def parameters(self) -> dict[str, Any]:
        """Sizes and noise; of the optional ones those asked for."""
        given = {"n_cells": self.n_cells, "n_genes": self.n_genes, "noise": float(self.noise)}
        optional = {"n_days": self.n_days, "n_clones": self.n_clones, "n_futures": self.n_futures or None}
        return given | {name: value for name, value in optional.items() if value is not None}


@dataclass(frozen=True)
class Differentiation:
    """A network and how its states are read.

    `masters` maps a fate to its regulator. Each of `contests`, from the first to the last, maps two clusters to
    the regulators that speak for them.
    """

    name: str
    duration: float
    n_core: int
    build: Callable[[int, np.random.Generator], Network]
    start: Mapping[str, float]
    masters: Mapping[str, str]
    contests: Sequence[Mapping[str, tuple[str, ...]]]

    @cached_property
    def labels(self) -> list[str]:
        """Fates and Undecided."""
        return [*self.masters, UNDECIDED]

    @cached_property
    def contestants(self) -> list[str]:
        """Every regulator that speaks for a cluster."""
        return sorted({name for contest in self.contests for side in contest.values() for name in side})

    def levels(self, network: Network, state: NDArray[np.float64], names: Iterable[str]) -> NDArray[np.float64]:
        """Spliced levels as shares of full induction, shape (cells, names)."""
        genes = [network.index(name) for name in names]
        return state[:, 1, genes] / network.s_max[genes]

    def fates(self, network: Network, state: NDArray[np.float64]) -> NDArray[np.str_]:
        """Name the master with the highest spliced level; Undecided where none is a quarter of a full level."""
        spliced = state[:, 1, [network.index(name) for name in self.masters.values()]]
        names = np.array(self.labels)
        return np.where(spliced.max(axis=1) < _ON * LEVEL, UNDECIDED, names[spliced.argmax(axis=1)])

    def clusters(self, network: Network, state: NDArray[np.float64]) -> pd.Categorical:
        """Progenitor, Early, or the winner of the last contest that is won."""
        cluster = np.full(len(state), "Early", dtype=object)
        for contest in self.contests:
            (left, a), (right, b) = (
                (name, self.levels(network, state, side).max(axis=1)) for name, side in contest.items()
            )
            won = (np.abs(a - b) > 0.6 * (a + b)) & (np.maximum(a, b) > _ON)
            cluster = np.where(won, np.where(a > b, left, right), cluster)
        cluster = np.where(self.levels(network, state, [COMMIT])[:, 0] < _ON, "Progenitor", cluster)
        return categorical(cluster, ["Progenitor", "Early", *(name for contest in self.contests for name in contest)])

    def end_fates(self, network: Network, state: NDArray[np.float64]) -> NDArray[np.str_]:
        """Fates that states reach without further noise."""
        genes = network.upstream(self.masters.values())
        deciders = network.subnetwork(genes)
        # Followers do not act back, so the deciders alone tell where a cell is bound.
        return self.fates(deciders, integrate(deciders, state[:, :, genes], self.duration * 1.5, step=0.1))


def simulate(kind: Differentiation, request: Request, rng: int | np.random.Generator | None) -> AnnData:
    """Build the network, run and collect its cells, and lay out what is known of them."""
    request.check(kind.name, kind.n_core)
    generator = random_source(rng)
    network = kind.build(request.n_genes, generator)
    collection = collect(kind.duration, request.n_cells, request.n_days, request.n_clones, generator)
    state = run(network, kind.start, collection, request.noise, generator)
    truth = {
        "true_fate": categorical(kind.end_fates(network, state), kind.labels),
        "clusters": kind.clusters(network, state),
    }
    labelling = {} if request.n_clones is None else {"labelling_time": LABELLING * kind.duration}
    simulated = Simulated(
        name=kind.name,
        network=network,
        state=state,
        obs=collection.columns() | truth,
        parameters=request.parameters(),
        extra={"duration": kind.duration} | labelling,
        uns={"true_knockouts": _knock_outs(kind, network, request.noise, generator)},
    )
    adata = observe(simulated, Sampling(request.counts, request.depth), generator)
    if request.n_futures:
        # Seeded after everything else, so that the cells are the same with and without it.
        seed = int(generator.integers(2**62))
        _add_probabilities(adata, kind, network, state, request, seed)
    return adata


def _add_probabilities(  # noqa: PLR0917
    adata: AnnData, kind: Differentiation, network: Network, state: NDArray[np.float64], request: Request, seed: int
) -> None:
    import pandas as pd

    share = fate_probability(kind, network, state, n_futures=request.n_futures, noise=request.noise, seed=seed)
    adata.obsm["true_fate_probability"] = pd.DataFrame(share, index=adata.obs_names, columns=list(kind.masters))


def _knock_outs(kind: Differentiation, network: Network, noise: float, rng: np.random.Generator) -> pd.DataFrame:
    start = start_states(network, kind.start, _N_TRAJECTORIES, SPREAD, rng)
    bystanders = network.where("marker", "inert")
    chosen = rng.permutation(bystanders)[:_N_BYSTANDERS]
    genes = [*network.where("regulator").tolist(), *sorted(int(i) for i in chosen)]
    return knock_out_table(
        network,
        [network.names[i] for i in genes],
        start,
        duration=kind.duration,
        noise=noise,
        readout=list(kind.masters.values()),
        fates=kind.fates,
        labels=kind.labels,
        seed=int(rng.integers(2**62)),
    )
