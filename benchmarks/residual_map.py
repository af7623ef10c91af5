"""The discrete map against the flow that it tends to, and what continuous time buys on irregular days."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from _table import publish

import scnode
from scnode import nn, ode

STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SEEDS = (100, 101)
DAYS = (0, 1, 3, 6)
METHODS = ("scnode_forecast", "residual_map", "no_motion", "noise_floor")


def main() -> None:
    scnode.settings.verbosity = 1
    tables = pd.concat([held_out(seed) for seed in SEEDS])
    scores = tables.groupby(["holdout", "method"])[["w1", "energy"]].mean()
    lines = [
        "| day held out | " + " | ".join(f"{m} W1, energy" for m in METHODS) + " |",
        "|" + "---|" * (1 + len(METHODS)),
        *(
            f"| {time:.3g} | " + " | ".join("{:.3f}, {:.3f}".format(*scores.loc[(time, m)]) for m in METHODS) + " |"
            for time in scores.index.levels[0]
        ),
    ]
    publish(
        __file__,
        "The residual map beside the flow",
        ["steps", "step", "distance from the flow", "observed order"],
        convergence(),
        "`nn.ResidualMap` of one random `nn.MLPField` (5 dimensions, tanh, double precision) in equal steps to time 1, "
        "against `ode.solve` at 1e-11; root mean square over 64 states, relative to the mean length of a trajectory's "
        "displacement. The order is the logarithm to base 2 of the ratio to the row above.\n\n"
        f"`tl.evaluate(discrete=True)` on `datasets.bifurcation(n_cells=1400, n_days=7)`, seeds {SEEDS}, of which days "
        f"{DAYS} are kept, a time course that is irregular; two members, mean over the seeds. Neither method knows the "
        "days after the one held out.\n\n" + "\n".join(lines),
    )


def convergence() -> list[tuple[str, ...]]:
    generator = torch.Generator().manual_seed(SEEDS[0])
    field = nn.MLPField(5, hidden=(32, 32), activation="tanh", generator=generator).double()
    y0 = torch.randn(64, 5, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        exact = ode.solve(field, y0, torch.tensor([0.0, 1.0]).double(), rtol=1e-11, atol=1e-12).ys[:, -1]
        ends = [nn.ResidualMap(field)(y0, torch.linspace(0, 1, n + 1).double())[:, -1] for n in STEPS]
    size = (exact - y0).square().mean().sqrt()
    errors = [float((end - exact).square().mean().sqrt() / size) for end in ends]
    orders = ["", *(f"{np.log2(a / b):.3f}" for a, b in pairwise(errors))]
    return [(str(n), f"{1 / n:.3g}", f"{e:.3e}", o) for n, e, o in zip(STEPS, errors, orders, strict=True)]


def held_out(seed: int) -> pd.DataFrame:
    adata = scnode.datasets.bifurcation(n_cells=1400, n_days=7, rng=seed)
    days = np.sort(adata.obs["day"].unique())[list(DAYS)]
    adata = adata[adata.obs["day"].isin(days)].copy()
    scnode.tl.evaluate(
        adata, time_key="day", holdout=days[1:-1].tolist(), params={"n_members": 2}, discrete=True, rng=seed
    )
    sys.stderr.write(f"seed {seed} done\n")
    return scnode.get.evaluation(adata)


if __name__ == "__main__":
    main()
