"""Whether the trust score tells wrong forecasts, and whether the intervals hold what they promise."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import torch
from _futures import count, encode, futures, network, states
from _table import publish
from scipy.stats import chi2
from sklearn.metrics import roc_auc_score

import scnode
from scnode._keys import Keys
from scnode.tl._path_parts import PARTS, path_parts
from scnode.tl._trust import Trust

SEEDS = {"bifurcation": 101, "branching": 102, "limit_cycle": 103}
LEFT_OUT = {"bifurcation": "FateB", "branching": "FateC"}
DURATION = {"bifurcation": 30.0, "branching": 36.0}
N_CELLS, N_STARTS, N_DAYS = 800, 120, 7
FIT: dict[str, Any] = {"n_members": 3, "max_epochs": 60}
STEPS = np.linspace(0, 1, 17)
SHOWN = [2, 4, 8, 16]
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "EMT, 10-d latent": ("emt_a549_latent10.h5ad", {"use_rep": "X_ae"}),
    "LPS": ("lps_dendritic_timecourse.h5ad", {}),
    "THP-1": ("thp1_timecourse_tf.h5ad", {"n_latent": 30}),
}
MOST, REFIT = 600, {"n_members": 2, "max_epochs": 25}


@dataclass
class Forecasts:
    """Error, score, radius and parts (cell, step) of forecasts, with the radius of the ensemble's spread alone."""

    error: np.ndarray
    score: np.ndarray
    radius: np.ndarray
    alone: np.ndarray
    parts: dict[str, np.ndarray]


def main() -> None:
    scnode.settings.verbosity = 0
    rows: list[list[object]] = []
    ranked, covered = [], []
    for name in SEEDS:
        sets = simulated(name)
        known = sets.pop("coverage")
        ranked += [row for scenario in sets for row in ranks(name, scenario, sets[scenario])]
        if sets:
            together = [*known, *(forecasts for scenario in sets.values() for forecasts in scenario)]
            ranked += ranks(name, "all", together) + ranks(name, "all, median of all", together, of_all=True)
        covered += coverage(name, known)
        say(f"{name} done")
    rows = [["forecast", *row] for row in ranked] + [["interval", *row] for row in covered]
    rows += [["interval", *row] for row in real()]
    publish(
        __file__,
        "Trust score and intervals",
        ["what", "data", "set or held-out time", "t", "n", "share", *PARTS, "combined / conformal"],
        rows,
        f"Rows `forecast`: AUROC of telling forecasts whose true error is over twice the median of seen, unperturbed "
        "cells of their set (in the last row of each simulation: of all), for each part alone and for `tl.ood`; "
        "`share` of such forecasts. `datasets.bifurcation` and "
        f"`datasets.branching`, seeds 101 and 102, {N_CELLS} cells on {N_DAYS} days, `tl.fit(time_key='day', "
        "n_members=3, max_epochs=60)`, encoder "
        "included, without the branch or the day named; t is in units of the clock. Starts are counts of cells, seen "
        "and left out in equal numbers, and for `perturbed starts` cells of which three regulators are set to nothing "
        "or full or a fifth of all genes to nothing. The truth is the mean latent state of what would be counted of "
        "the simulation's noise-free continuation of the cell's true state.\n\n"
        "Rows `interval` of simulations: share of true future states of seen cells within the radius, before the "
        "correction (the ensemble's spread as a Gaussian, column `share`) and after it (last column); 0.9 is asked. Of "
        "real data: `tl.evaluate` with at most "
        f"{MOST} cells and refits of two members and 25 epochs, `coverage` (column `share`) and `coverage_conformal` "
        "(last column) of the method `scnode`, 90 % intervals along the five leading axes, corrected by other held-out "
        "times; `between` is the mean of those between two times, and the last day is extrapolated to.",
    )


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def simulated(name: str) -> dict[str, list[Forecasts]]:
    """Forecasts by scenario."""
    seed, rng = SEEDS[name], np.random.default_rng(0)
    if name == "limit_cycle":
        adata = scnode.datasets.limit_cycle(n_cells=N_CELLS, rng=seed)
        scnode.pp.velocity(adata)
        scnode.tl.fit(adata, velocity_key="velocity", **FIT)
        scnode.tl.ood(adata)
        return {
            "coverage": [forecast(adata, adata, rows_of(N_CELLS, rng), adata.uns["simulation"]["period"], seed, rng)]
        }
    full = getattr(scnode.datasets, name)(n_cells=N_CELLS, n_days=N_DAYS, rng=seed)
    days, end = np.unique(full.obs["day"]), DURATION[name]
    wild, branch, time = full.copy(), full[full.obs["clusters"] != LEFT_OUT[name]].copy(), full.copy()
    for adata, options in ((wild, {}), (branch, {}), (time, {"holdout": [days[3]]})):
        scnode.tl.fit(adata, time_key="day", **FIT, **options)
        scnode.tl.ood(adata)
    away = (full.obs["clusters"] == LEFT_OUT[name]).to_numpy()
    middle = (full.obs["day"] == days[3]).to_numpy()
    start = states(full)
    known = forecast(wild, full, rows_of(N_CELLS, rng), end, seed, rng)
    moved = [
        forecast(wild, full, rows_of(N_CELLS, rng), end, seed, rng, moved=kind(start, network(full, seed), rng))
        for kind in (switched, deleted)
    ]
    return {
        "coverage": [known],
        "left-out branch": both(branch, full, away, end, seed, rng),
        "left-out day": both(time, full, middle, end, seed, rng),
        "perturbed starts": [known, *moved],
    }


def rows_of(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(n)[:N_STARTS]


def both(  # noqa: PLR0917
    fitted: ad.AnnData, full: ad.AnnData, out: np.ndarray, end: float, seed: int, rng: np.random.Generator
) -> list[Forecasts]:
    """Forecasts from cells that the fit has seen and from cells that it has not."""
    chosen = [rng.permutation(np.flatnonzero(mask))[:N_STARTS] for mask in (~out, out)]
    return [forecast(fitted, full, rows, end, seed, rng) for rows in chosen]


def switched(state: np.ndarray, net: Any, rng: np.random.Generator) -> np.ndarray:
    """Three regulators of every cell set to nothing or to full induction."""
    moved, regulators = state.copy(), net.where("regulator")
    for cell in moved:
        genes = rng.choice(regulators, 3, replace=False)
        cell[:, genes] = rng.choice([0.0, 1.0], 3) * net.level_scale[:, genes]
    return moved


def deleted(state: np.ndarray, net: Any, rng: np.random.Generator) -> np.ndarray:
    """A fifth of the genes of every cell set to nothing."""
    return state * (rng.random((len(state), 1, net.n_genes)) > 0.2)


def forecast(  # noqa: PLR0917
    fitted: ad.AnnData,
    full: ad.AnnData,
    rows: np.ndarray,
    end: float,
    seed: int,
    rng: np.random.Generator,
    *,
    moved: np.ndarray | None = None,
) -> Forecasts:
    """Flow from the counts of some cells of the full simulation, beside what becomes of them."""
    state = (states(full) if moved is None else moved)[rows]
    counts = full.X[rows].toarray() if moved is None else count(state, full, rng)
    model = scnode.get.model(fitted)
    trust = Trust.stored(fitted, Keys(), model)
    start, ts = (
        torch.as_tensor(encode(counts, fitted), dtype=torch.float32),
        torch.as_tensor(STEPS, dtype=torch.float32),
    )
    with torch.no_grad():
        mean, members = (model.flow(start, ts, members=m).numpy().astype(float) for m in (False, True))
    truth = futures(state, fitted, network(full, seed), STEPS[SHOWN] * end, rng)
    begin = np.zeros(len(mean))
    judged = trust.along(STEPS, mean, begin)
    parts = path_parts(model.field, trust.ground, STEPS, mean[:, 0], begin)
    spread = np.sqrt(((members - members.mean(1, keepdims=True)) ** 2).sum(-1).mean(1))
    n = start.shape[1]
    return Forecasts(
        error=np.linalg.norm(mean[:, 0][:, SHOWN] - truth, axis=-1),
        score=judged["ood"][:, 0][:, SHOWN],
        radius=judged["radius"][:, 0][:, SHOWN],
        alone=spread[:, SHOWN] * np.sqrt(chi2.ppf(0.9, n) / n),
        parts={part: values[:, SHOWN] for part, values in parts.items()},
    )


def ranks(name: str, scenario: str, sets: list[Forecasts], *, of_all: bool = False) -> list[list[object]]:
    """AUROC of every part and of the score, half a clock and a whole clock ahead; the first set is of seen cells."""
    rows: list[list[object]] = []
    for step in (2, 3):
        error = np.concatenate([s.error[:, step] for s in sets])
        wrong = error > 2 * np.median(error if of_all else sets[0].error[:, step])
        scores = [np.concatenate([s.parts[part][:, step] for s in sets]) for part in PARTS]
        scores.append(np.concatenate([s.score[:, step] for s in sets]))
        found = [f"{roc_auc_score(wrong, s):.3f}" if wrong.any() else "" for s in scores]
        rows.append([name, scenario, f"{STEPS[SHOWN[step]]:g}", len(error), f"{wrong.mean():.2f}", *found])
    return rows


def coverage(name: str, sets: list[Forecasts]) -> list[list[object]]:
    known, rows = sets[0], []
    before, after = known.error <= known.alone, known.error <= known.radius
    for step, place in enumerate(SHOWN):
        share = f"{before[:, step].mean():.3f}"
        rows.append(
            [name, "seen cells", f"{STEPS[place]:g}", len(before), share, *[""] * 5, f"{after[:, step].mean():.3f}"]
        )
    rows.append([name, "seen cells", "all", before.size, f"{before.mean():.3f}", *[""] * 5, f"{after.mean():.3f}"])
    return rows


def real() -> list[list[object]]:
    """Coverage of held-out days of real time courses."""
    rows: list[list[object]] = []
    for name, (file, options) in FILES.items():
        adata = ad.read_h5ad(Path(os.environ["SCNODE_DATA"]) / file)
        adata = adata[np.sort(np.random.default_rng(0).permutation(adata.n_obs)[:MOST])].copy()
        scnode.tl.evaluate(adata, time_key="day", params={**options, **REFIT}, n_splits=2)
        table = scnode.get.evaluation(adata)
        table = table[table["method"] == "scnode"]
        for _, row in table.iterrows():
            shares = f"{row['coverage']:.3f}", f"{row['coverage_conformal']:.3f}"
            rows.append([name, f"day {row['holdout']:.3g}", "", "", shares[0], *[""] * 5, shares[1]])
        mean = table.iloc[:-1][["coverage", "coverage_conformal"]].mean()
        rows.append([name, "between", "", "", f"{mean.iloc[0]:.3f}", *[""] * 5, f"{mean.iloc[1]:.3f}"])
        say(f"{name} done")
    return rows


if __name__ == "__main__":
    main()
