"""Genes held in cells of which only the wild type was seen, against the same done to the simulated network itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
from _knockouts import N_REPEATS, UNDECIDED, truth
from _table import publish
from scipy.linalg import expm
from scipy.stats import false_discovery_control, spearmanr, ttest_ind

import scnode
from scnode._keys import Keys
from scnode.model import LatentODE
from scnode.tl._constraint import Reader
from scnode.tl._outcomes import moved_off, named_groups, outcome_table
from scnode.tl._trajectories import start_rows

SIMULATIONS, SEEDS = ("bifurcation", "branching"), (301, 302)
N_CELLS, N_STARTS, N_NULL, N_NULL_STARTS = 1200, 60, 99, 25
# A shift of the true share that counts, and its number of standard errors.
LEAST, ERRORS = 0.05, 3.0
ROLES = {"inert": "inert", "marker": "markers", "cascade end": "ends of cascades"}
Ends = Callable[[str, str], tuple[np.ndarray, np.ndarray | None]]


@dataclass
class Case:
    """A fitted simulation: its start cells, terminal groups, genes under test and levels of decoded expression."""

    adata: ad.AnnData
    model: LatentODE
    rows: np.ndarray
    terminal: np.ndarray
    genes: list[str]
    decoded: np.ndarray
    control: np.ndarray

    @property
    def latent(self) -> np.ndarray:
        return np.asarray(self.adata.obsm["X_scnode"], dtype=float)

    @property
    def reader(self) -> Reader:
        return Reader.of(self.model, self.latent)

    @property
    def start(self) -> torch.Tensor:
        return torch.as_tensor(self.latent[self.rows], dtype=torch.float32)

    def level(self, gene: str, way: str) -> float:
        """Nothing, or the 99 % quantile of its decoded expression."""
        return 0.0 if way == "down" else float(np.quantile(self.decoded[:, self.model.columns([gene])[0]], 0.99))


def main() -> None:
    scnode.settings.verbosity = 0
    rows: list[list[object]] = []
    for simulation in SIMULATIONS:
        found: dict[str, list[pd.DataFrame]] = {}
        for seed in SEEDS:
            for method, table in one_seed(simulation, seed).items():
                found.setdefault(method, []).append(table)
            sys.stderr.write(f"{simulation}, seed {seed} done\n")
        rows += [[simulation, method, *summary(tables)] for method, tables in found.items()]
    columns = ["signs of calls", "signs of all", "called", "rho, regulators", "rho, with inert"]
    publish(
        __file__,
        "Genes held, trained on the wild type alone",
        [
            "simulation",
            "method",
            *columns,
            *(f"calls among {name}" for name in ROLES.values()),
            "false calls",
            "truth in interval",
        ],
        rows,
        NOTES,
    )


def one_seed(simulation: str, seed: int) -> dict[str, pd.DataFrame]:
    """Predicted beside true shifts of every method."""
    case = fitted(simulation, seed)
    known = truth(case.adata, seed, case.rows, case.genes)
    held = compared(case, ends(case, case.reader, hold=True))
    found = {
        "tl.perturb, hold": held,
        "tl.perturb, hold, matched null (knock-outs)": matched(case, held),
        "hold by least distance": compared(case, ends(case, Reader(case.model), hold=True)),
        "tl.perturb, initial": compared(case, ends(case, case.reader, hold=False)),
        "linear drift in PCA, hold": compared(case, linear_ends(case), linear_control(case)),
        "difference of fate means": static(case),
        "hold, genes shuffled": shuffled(held, seed),
    }
    return {method: table.merge(known, on=["gene", "way", "fate"]) for method, table in found.items()}


def fitted(simulation: str, seed: int) -> Case:
    """All regulators, 20 genes that no regulator moves, and six markers, of a fit to the velocity of the wild type."""
    adata = getattr(scnode.datasets, simulation)(n_cells=N_CELLS, rng=seed)
    scnode.pp.velocity(adata)
    scnode.tl.fit(adata, velocity_key="velocity")
    clusters = adata.obs["clusters"].astype(str)
    adata.obs["end"] = clusters.where(~clusters.isin(UNDECIDED), "Undecided")
    role, model = adata.var["role"].astype(str), scnode.get.model(adata)
    genes = [
        gene
        for name, n in (("regulator", 99), ("inert", 20), ("marker", 6))
        for gene in adata.var_names[role == name][:n]
    ]
    rows = np.random.default_rng(0).permutation(start_rows(adata, None, Keys()))[:N_STARTS]
    latent = torch.as_tensor(adata.obsm["X_scnode"])
    with torch.no_grad():
        decoded = model.decoder.decode(latent).numpy()
        control = model.flow(latent[rows], torch.tensor([0.0, 1.0]), members=True)[:, :, -1].numpy()
    return Case(adata, model, rows, named_groups(adata, "end", None), genes, decoded, control)


def ends(case: Case, reader: Reader, *, hold: bool) -> Ends:
    """End states (start, member, latent) and those they start from, as :func:`scnode.tl.perturb` makes them."""

    def held(gene: str, way: str) -> tuple[np.ndarray, np.ndarray]:
        kept = reader.hold([gene], torch.tensor([case.level(gene, way)]))
        with torch.no_grad():
            start, times = kept.confine(case.start), torch.tensor([0.0, 1.0])
            paths = case.model.flow(start, times, members=True, hold=kept if hold else None)
        return paths[:, :, -1].numpy(), start.numpy()

    return held


def compared(case: Case, held: Ends, control: np.ndarray | None = None) -> pd.DataFrame:
    """Shift of each fate's share, its interval, and q values over all genes, ways and fates."""
    before, tables = case.control if control is None else control, []
    for gene in case.genes:
        for way in ("down", "up"):
            after, start = held(gene, way)
            lost = None if start is None else moved_off(case.latent, case.start.numpy(), start)
            table = outcome_table(case.latent, case.terminal, before, after, lost=lost, corrected=False)
            tables.append(table.assign(gene=gene, way=way))
    table = pd.concat(tables, ignore_index=True)
    table["shift"] = table["perturbed"] - table["control"]
    table["qvalue"] = false_discovery_control(table["qvalue"])
    return table


def matched(case: Case, held: pd.DataFrame) -> pd.DataFrame:
    """The knock-outs again, with p values among the 99 genes nearest to each in mean and variance."""
    names, few = np.array(case.model.genes), np.arange(0, N_STARTS, N_STARTS // N_NULL_STARTS)[:N_NULL_STARTS]
    reader, start = case.reader, case.start[few]
    moved = []
    for part in np.array_split(names, 8):
        kept = reader.holds([[gene] for gene in part], len(few), torch.zeros(1))
        with torch.no_grad():
            out = case.model.flow(start.repeat(len(part), 1), torch.tensor([0.0, 1.0]), members=True, hold=kept)
        moved.append(out[:, :, -1].numpy().reshape(len(part), len(few), *case.control.shape[1:]))
    labels = np.unique(case.terminal)
    change = np.stack([shares(case, end) for end in np.concatenate(moved)]) - shares(case, case.control[few])
    moments = np.stack([case.decoded.mean(0), case.decoded.var(0)], axis=1)
    ranks = moments.argsort(0).argsort(0)
    table = held[held["way"] == "down"].copy()
    place = {gene: i for i, gene in enumerate(names)}
    values = []
    for gene, fate in zip(table["gene"], table["fate"], strict=True):
        own, column = place[gene], int(np.flatnonzero(labels == fate)[0])
        near = np.argsort(np.square(ranks - ranks[own]).sum(1), kind="stable")[1 : N_NULL + 1]
        values.append((1 + (np.abs(change[near, column]) >= np.abs(change[own, column])).sum()) / (1 + N_NULL))
    table["qvalue"] = false_discovery_control(values)
    return table


def shares(case: Case, states: np.ndarray) -> np.ndarray:
    from scnode.tl._outcomes import group_shares

    return group_shares(case.latent, case.terminal, states).mean((0, 1))


def drift(case: Case) -> np.ndarray:
    """Generator of the linear drift that the velocities of all cells fit best, on states with a one behind them."""
    states = np.column_stack([case.latent, np.ones(len(case.latent))])
    velocity = np.asarray(case.adata.obsm["velocity_scnode"], dtype=float)
    slope = np.linalg.lstsq(states, velocity, rcond=None)[0].T
    return np.vstack([slope, np.zeros(states.shape[1])])


def linear_control(case: Case) -> np.ndarray:
    start = np.column_stack([case.latent[case.rows], np.ones(N_STARTS)])
    return (start @ expm(drift(case)).T)[:, None, :-1]


def linear_ends(case: Case) -> Ends:
    """The linear drift along the plane of a gene's level, by its exponential."""
    decoder, generator = case.model.decoder, drift(case)

    def held(gene: str, way: str) -> tuple[np.ndarray, None]:
        column = case.model.columns([gene])[0]
        row = np.asarray(decoder.components[column], dtype=float)
        start, gap = case.latent[case.rows], case.level(gene, way) - float(decoder.mean[column])
        start = start - np.outer(start @ row - gap, row) / (row @ row)
        along = np.eye(len(row) + 1)
        along[:-1, :-1] -= np.outer(row, row) / (row @ row)
        states = np.column_stack([start, np.ones(len(start))]) @ expm(along @ generator).T
        return states[:, None, :-1], None

    return held


def static(case: Case) -> pd.DataFrame:
    """Mean log expression in the cells of a fate less that in all others: held down, the fate falls by it."""
    counts = case.adata.X.toarray()
    logs = pd.DataFrame(np.log1p(1e4 * counts / counts.sum(1, keepdims=True)), columns=case.adata.var_names)
    rows: list[dict[str, Any]] = []
    for gene in case.genes:
        for fate in np.unique(case.terminal):
            within, beyond = (logs.loc[mask, gene] for mask in (case.terminal == fate, case.terminal != fate))
            gap, p = float(within.mean() - beyond.mean()), float(ttest_ind(within, beyond, equal_var=False).pvalue)
            rows += [
                {"gene": gene, "way": way, "fate": fate, "shift": s * gap, "qvalue": p}
                for way, s in (("down", -1), ("up", 1))
            ]
    table = pd.DataFrame(rows)
    table["qvalue"] = false_discovery_control(table["qvalue"])
    return table


def shuffled(held: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Results of the regulators under each other's names."""
    genes = [gene for gene in held["gene"].unique() if "_TF" in gene]
    parts = []
    for k in range(20):
        names = dict(zip(genes, np.random.default_rng((seed, k)).permutation(genes), strict=True))
        parts.append(held[held["gene"].isin(genes)].assign(gene=lambda t, names=names: t["gene"].map(names)))
    return pd.concat(parts)


def role_of(gene: str) -> str:
    if gene.startswith("Inert"):
        return "inert"
    if "Marker" in gene:
        return "marker"
    return "cascade end" if gene.startswith("Fate") and gene.endswith("TF3") else "regulator"


def summary(tables: list[pd.DataFrame]) -> list[str]:
    """Signs, correlations and calls over the genes of all seeds."""
    table = pd.concat(tables)
    role = table["gene"].map(role_of)
    moved = (table["true_shift"].abs() >= LEAST) & (table["true_shift"].abs() > ERRORS * table["true_se"])
    called = table["qvalue"] < 0.05
    right = np.sign(table["shift"]) == np.sign(table["true_shift"])

    def share(values: pd.Series, among: pd.Series) -> str:
        return f"{values[among].mean():.2f}" if among.any() else ""

    def rho(among: pd.Series) -> str:
        return f"{spearmanr(table['shift'][among], table['true_shift'][among])[0]:.2f}"

    cells = [share(right, moved & called), share(right, moved), share(called, moved)]
    regulators = role.isin(["regulator", "cascade end"])
    cells += [rho(regulators), rho(regulators | (role == "inert")) if (role == "inert").any() else ""]
    cells += [share(called, role == name) for name in ROLES]
    cells.append(share(~moved, called))
    return [*cells, covered(table)]


def covered(table: pd.DataFrame) -> str:
    """Share of the true fold changes within the intervals, without those of a fate that neither arm reaches."""
    if "ci_low" not in table:
        return ""
    half = 0.5 / N_STARTS
    true = np.log2((table["true_held"] + half) / (table["true_control"] + half))
    known = table["ci_low"].notna() & ((table["true_control"] > 0) | (table["true_held"] > 0))
    slack = 1e-6
    return f"{((true >= table['ci_low'] - slack) & (true <= table['ci_high'] + slack))[known].mean():.2f}"


NOTES = (
    f"`datasets.bifurcation` and `datasets.branching`, seeds {SEEDS[0]} and {SEEDS[-1]}, {N_CELLS} cells, negative "
    "binomial counts, `tl.fit(velocity_key='velocity')`: all cells are of the wild type. Every regulator, 20 inert "
    f"genes and six markers, held at nothing and at the 99 % quantile of their decoded expression, from {N_STARTS} of "
    "the earliest tenth of the cells over one unit of the clock; an end is of the groups (fates, and `Undecided` for "
    "all earlier clusters) of its nearest cells. The truth is the same done to the simulated network: from the true "
    f"states of these cells, {N_REPEATS} noisy runs each, of the gene never transcribed or always at its full rate; a "
    f"true shift of a share counts from {LEAST:g} on, where it is over {ERRORS:g} of its standard errors.\n\nA call "
    "has a q value below 0.05 over all genes, ways and fates: of Student's t over the members and cells as in "
    "`tl.perturb`, of a t test between the cells of a fate and all others in `difference of fate means`, and with "
    "`matched null` of the share of 99 genes of like mean and variance that, held, move the fate as far (`n_null=99` "
    "of `tl.perturb`; knock-outs alone). Columns: right signs among the true shifts that are called, and among all "
    "true shifts; share of the true shifts that are called; Spearman's correlation of predicted and true shifts of "
    "regulators, and of regulators and inert genes, whose truth is all ties at zero; calls among inert genes, among "
    "markers and among the last regulators of the fates' cascades, none of which does anything; share of all calls "
    "where there is no true shift; and share of true log2 fold changes within the 95 % intervals. `hold by least "
    "distance` measures the change of a state in the latent space's own units in place of the spread of the cells. "
    "The last rows give the regulators' results to each other at random."
)

if __name__ == "__main__":
    main()
