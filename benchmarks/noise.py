"""The diffusion that a fit learns beside the one that the simulation has, and what it does to a forecast."""

from __future__ import annotations

import sys

import anndata as ad
import numpy as np
from _table import publish

import scnode

SEED = 100
NOISES = (0.0125, 0.05, 0.2)
FIT = {"n_members": 2, "max_epochs": 60}


def main() -> None:
    scnode.settings.verbosity = 0
    rows = [row for noise in NOISES for row in one_noise(noise)]
    rows += forecasts()
    publish(
        __file__,
        "The noise of a fit beside that of the simulation",
        ["noise of the simulation", "evidence", "true level", "learned level", "correlation by cell", "Péclet"],
        rows,
        f"`datasets.bifurcation`, seed {SEED}, 1500 cells, negative binomial counts of 500 molecules a cell; "
        "`tl.fit(noise=True, n_members=2, max_epochs=60)`. Levels are root mean squares over 20 latent coordinates, "
        "the mean over cells, per square root of the clock; the truth is `datasets.true_diffusion`. Correlation: of "
        "both over the cells. Days: six. The last rows hold out the fourth day and give the energy distance of its "
        "forecast from its cells in place of a level.",
    )


def one_noise(noise: float) -> list[tuple[object, ...]]:
    found = []
    for evidence in ("velocity", "pseudotime", "days"):
        adata = simulated(noise, days=evidence == "days")
        if evidence == "velocity":
            scnode.pp.velocity(adata)
        key = {"velocity": "velocity_key", "pseudotime": "pseudotime_key", "days": "time_key"}[evidence]
        column = {"velocity": "velocity", "pseudotime": "hours", "days": "day"}[evidence]
        scnode.tl.fit(adata, noise=True, **FIT, **{key: column})
        true = np.sqrt(np.square(scnode.datasets.true_diffusion(adata)).mean(1) * hours_of_clock(adata))
        learned = adata.obs["scnode_diffusion"].to_numpy()
        correlation = np.corrcoef(true, learned)[0, 1]
        peclet = adata.uns["scnode"]["report"]["noise"]["peclet"]
        found.append(
            (noise, evidence, f"{true.mean():.2f}", f"{learned.mean():.2f}", f"{correlation:.2f}", f"{peclet:.0f}")
        )
        sys.stderr.write(f"{found[-1]}\n")
    return found


def simulated(noise: float, *, days: bool) -> ad.AnnData:
    adata = scnode.datasets.bifurcation(n_cells=1500, noise=noise, n_days=6 if days else None, rng=SEED)
    adata.obs["hours"] = adata.obs["true_time"].astype(float)
    return adata


def hours_of_clock(adata: ad.AnnData) -> float:
    """How many hours a unit of the clock has: those of the cells from its start to its end."""
    slope = np.polyfit(adata.obs["scnode_time"], adata.obs["hours"], 1)[0]
    return float(slope)


def forecasts() -> list[tuple[object, ...]]:
    """Energy distance of the forecast of a held-out day, by drift alone and with noise."""
    rows = []
    for noise in (False, True):
        adata = simulated(0.05, days=True)
        held = np.unique(adata.obs["day"])[3]
        params = {"time_key": "day", "noise": noise, **FIT}
        scnode.tl.evaluate(adata, time_key="day", holdout=float(held), params=params)
        table = scnode.get.evaluation(adata).set_index("method")["energy"]
        name = "days, forecast " + ("with noise" if noise else "by the drift alone")
        rows.append((0.05, name, f"{table['noise_floor']:.2f} (floor)", f"{table['scnode_forecast']:.2f}", "", ""))
        sys.stderr.write(f"{rows[-1]} {table.to_dict()}\n")
    return rows


if __name__ == "__main__":
    main()
