"""What stands above and under the tables."""

from __future__ import annotations

from collections.abc import Iterable

from _data import LATE, N_DAYS, N_FUTURES, N_LATENT
from _peers import PEERS, version

TITLES = {
    "velocity": "Velocity, speed and time from spliced and unspliced counts, beside peers",
    "fate": "Fate probabilities of undecided cells, beside peers",
    "timecourse": "Time courses: velocity from days alone, and days held out, beside peers",
    "cost": "Cost of a run, beside peers",
}
CELLS = (
    "cells a seed of `scnode.datasets`, counts; every method sees one file without the truth, with its own interpreter "
    f"and packages, on one thread, and is scored by one code in the {N_LATENT} components that the file holds. Medians "
    "over the seeds that a method was run on, the worst in brackets. "
)
TEXTS = {
    "velocity": (
        "Cosines with the true velocity, mean over the faster half of the cells; a cell without a velocity counts as "
        "zero. `own` is what the peer recommends for an embedding (velocity graph of scVelo and veloVI, SparseVFC of "
        "dynamo, scTour's vector field embedding); `chain rule` takes the gene velocity through the normalisation "
        "and the logarithm and averages over 30 neighbours, alike for all, genes without a fit at rest. `genes` is the "
        "cosine over all genes in log-normalised units, `speed` the rank correlation of the norms, by the chain rule "
        "where there is one. `time` is the rank correlation with the true time within fates, on the cycle the "
        "circular correlation of the phase (-1 if reversed; a time is spread over one turn). scVelo's time is the "
        "latent time of the dynamical mode, else and for veloVI the velocity pseudotime, dynamo's the Hodge "
        "potential. The floor is diffusion pseudotime from the truly earliest cell and its differences; "
        "scTour is turned by that cell. The ceiling is the truth averaged over 30 neighbours. "
    ),
    "fate": (
        f"Labelled are cells that are of the cluster of their fate and among the latest {1 - LATE:.0%}; asked are "
        "those not yet of that cluster. AUC (one fate against the others, mean) and Brier score against the fate that "
        "the cell's own state reaches without further noise; `probability` is the root mean square error to the share "
        f"of {N_FUTURES} noisy continuations that reach the fate, which no method knows. CellRank takes 0.8 of its "
        "velocity kernel and 0.2 of the connectivities. `nearest later cells` is the mean over the 30 nearest cells "
        "later in diffusion pseudotime, from the truly earliest cell. The ceiling is the true probability averaged "
        "over 30 neighbours, and is no bound for the AUC. "
    ),
    "timecourse": (
        f"{N_DAYS} days of equal numbers of cells, no unspliced counts. `velocity` is the mean cosine over the faster "
        "half, all days given. W1 to the day held out is over that between two halves of the day, so that 1 is a "
        "perfect cloud; the energy distance is unbiased, 0 for one. Clouds have equal numbers of cells; components are "
        "those of the days given. `inner` is the fourth day, `last` the sixth. OT interpolation takes the exact plan "
        "between the days around, and prolongs it beyond the last; the straight line moves the day before as the means "
        "move. TorchCFM has the network and noise of its single-cell example, 5,000 steps of 128 cells a pair of days, "
        "learning rate 1e-3, states over their standard deviation. PRESCIENT and scDiffEq "
        "take states over the root mean variance of the genes, the least interval between days as 1 and every cell of "
        "one weight, learn from the first day on and carry the day before. They have the defaults but for the length: "
        "PRESCIENT a fifth of its epochs (100 of 500 before training, 500 of 2,500 in it) and in its regulariser as "
        "many samples as the last day has cells, of 2,000; scDiffEq a tenth (250 of 2,500). Both may fall short of "
        "what they reach with all. "
    ),
    "cost": (
        "`velocity` and `fate` are runs on the bifurcation, `timecourse` one on its days. CPU seconds, those of "
        "imports apart, and the highest resident memory of the process, imports included. One run of scnode answers "
        "velocity and fate. "
    ),
}


def notes(family: str, shown: Iterable[str], n_cells: int) -> str:
    """With the versions of the peers that the table shows."""
    labels = set(shown)
    packages = {f"{p.package} {version(p)}" for p in PEERS.values() if p.label in labels}
    return f"{n_cells:,} {CELLS}{TEXTS[family]}Peers: {', '.join(sorted(packages))}."
