"""What knocking a gene out does to the fates of a simulated network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._integrate import integrate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from ._network import Network

    FateFunction = Callable[[Network, NDArray[np.float64]], NDArray[np.str_]]


def simulate_knockout(
    network: Network,
    genes: Sequence[str],
    start: NDArray[np.float64],
    *,
    duration: float,
    noise: float = 0.0,
    seed: int = 0,
) -> NDArray[np.float64]:
    """End states (cells, 2, genes) with `genes` never transcribed; no genes is the control.

    The same `seed` gives the same noise whatever is knocked out, so that runs compare cell by cell.
    """
    generator = np.random.default_rng(seed)
    knocked = network.knock_out(*genes)
    return integrate(knocked, start, duration, noise=noise, rng=generator, scale=network.level_scale)


def knock_out_table(
    network: Network,
    genes: Sequence[str],
    start: NDArray[np.float64],
    *,
    duration: float,
    noise: float,
    readout: Sequence[str],
    fates: FateFunction,
    labels: Sequence[str],
    seed: int,
) -> pd.DataFrame:
    """Shares of every fate with and without each gene, from the same cells and noise.

    Only genes with a path to `readout` are simulated one by one: any other leaves the dynamics of `readout`
    unchanged, and its row is the control's.
    """
    import pandas as pd

    upstream = network.upstream(readout)
    deciders, start = network.subnetwork(upstream), start[:, :, upstream]

    def shares(*knocked: str) -> NDArray[np.float64]:
        end = simulate_knockout(deciders, knocked, start, duration=duration, noise=noise, seed=seed)
        found = fates(deciders, end)
        return np.array([np.mean(found == label) for label in labels])

    control = shares()
    rows = []
    # Half a trajectory keeps the logarithm of an empty fate finite.
    half = 0.5 / len(start)
    for gene in genes:
        knockout = shares(gene) if gene in deciders.names else control
        change = np.log2((knockout + half) / (control + half))
        rows += list(zip([gene] * len(labels), labels, control, knockout, change, strict=True))
    return pd.DataFrame(rows, columns=["gene", "fate", "control", "knockout", "log_fold_change"])
