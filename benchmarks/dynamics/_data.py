"""Simulated cells as the peers see them, and their truth beside."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from scipy import sparse

import scnode

N_LATENT = 20
N_DAYS = 6
N_FUTURES = 100
LATE = 0.8
TARGET_SUM = 1e4


@dataclass(frozen=True)
class Task:
    """What is simulated, what the peers are asked and which day is kept from them."""

    simulation: str
    n_genes: int
    asks: tuple[str, ...]
    held_out: int | None = None


def _tasks() -> dict[str, Task]:
    genes = {"bifurcation": 160, "branching": 160, "limit_cycle": 100}
    tasks = {
        name: Task(name, n, ("velocity",) if name == "limit_cycle" else ("velocity", "fate"))
        for name, n in genes.items()
    }
    for name in ("bifurcation", "branching"):
        for split, day in {"days": None, "inner": N_DAYS // 2, "last": N_DAYS - 1}.items():
            tasks[f"{name}_{split}"] = Task(name, genes[name], ("timecourse",), day)
    return tasks


TASKS = _tasks()


@dataclass(frozen=True)
class Case:
    """One task at one seed: the file for the peers, its content and the truth."""

    task: str
    seed: int
    path: Path
    seen: ad.AnnData
    truth: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        return self.path.stem


def case(task: str, seed: int, *, n_cells: int, folder: Path) -> Case:
    """Simulate once; the same cells are read again, components included, as long as the simulations stay."""
    made = fingerprint(*Path(scnode.datasets.__file__).parent.glob("*.py"), Path(__file__))
    index = folder / f"{task}-{seed}-{n_cells}-{made}.txt"
    if not index.exists():
        folder.mkdir(parents=True, exist_ok=True)
        index.write_text(make(task, seed, n_cells, folder))
    path = folder / f"{index.read_text()}.h5ad"
    with np.load(path.with_suffix(".npz")) as stored:
        return Case(task, seed, path, ad.read_h5ad(path), dict(stored))


def make(task: str, seed: int, n_cells: int, folder: Path) -> str:
    """Write the file and the truth, unless the same cells are there from before; their common name."""
    seen, truth = split(simulate(TASKS[task], seed, n_cells), TASKS[task], seed)
    name = f"{task}-{seed}-{digest(seen)}"
    if not (folder / f"{name}.h5ad").exists():
        seen.write_h5ad(folder / f"{name}.h5ad")
    np.savez_compressed(folder / f"{name}.npz", **truth)
    return name


def simulate(task: Task, seed: int, n_cells: int) -> ad.AnnData:
    more: dict[str, int] = {}
    if "timecourse" in task.asks:
        more["n_days"] = N_DAYS
    if "fate" in task.asks:
        more["n_futures"] = N_FUTURES
    return getattr(scnode.datasets, task.simulation)(n_cells=n_cells, n_genes=task.n_genes, rng=seed, **more)


def split(cells: ad.AnnData, task: Task, seed: int) -> tuple[ad.AnnData, dict[str, np.ndarray]]:
    """The evidence, in components of the cells that are seen, and the truth about the same cells."""
    logs = log_normalised(cells.layers["spliced"])
    held_out = None if task.held_out is None else np.unique(cells.obs["day"])[task.held_out]
    kept = np.ones(len(logs), bool) if held_out is None else (cells.obs["day"] != held_out).to_numpy()
    mean, loadings = components(logs[kept])
    seen = evidence(cells[kept], task)
    seen.obsm["X_pca"], seen.varm["PCs"] = (logs[kept] - mean) @ loadings, loadings
    seen.uns |= {"mean": mean, "seed": seed, "iroot": int(cells.obs["true_time"].to_numpy()[kept].argmin())}
    truth = known(cells[kept], loadings)
    if held_out is not None:
        seen.uns["predict"] = float(held_out)
        truth["cloud"] = (logs[~kept] - mean) @ loadings
    return seen, truth


def log_normalised(counts: sparse.csr_matrix) -> np.ndarray:
    dense = np.asarray(counts.todense(), dtype=float)
    return np.log1p(TARGET_SUM * dense / dense.sum(1, keepdims=True))


def components(logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    work = ad.AnnData(logs)
    sc.pp.pca(work, n_comps=N_LATENT, random_state=0)
    return logs.mean(0), np.asarray(work.varm["PCs"], dtype=float)


def evidence(cells: ad.AnnData, task: Task) -> ad.AnnData:
    """Counts, and what the task lets a user know beside them."""
    seen = ad.AnnData(
        X=cells.layers["spliced"].copy(), obs=pd.DataFrame(index=cells.obs_names), var=cells.var[[]].copy()
    )
    if "timecourse" in task.asks:
        seen.obs["day"] = cells.obs["day"].to_numpy(dtype=float)
        return seen
    for name in ("spliced", "unspliced"):
        seen.layers[name] = cells.layers[name].copy()
    if "fate" in task.asks:
        late = cells.obs["true_time"] > cells.obs["true_time"].quantile(LATE)
        seen.obs["terminal"] = np.where(late & decided(cells), cells.obs["true_fate"].astype(str), "")
    return seen


def decided(cells: ad.AnnData) -> np.ndarray:
    """Cells that already are of the cluster of their fate."""
    return (cells.obs["clusters"].astype(str) == cells.obs["true_fate"].astype(str)).to_numpy()


def known(cells: ad.AnnData, loadings: np.ndarray) -> dict[str, np.ndarray]:
    abundance, rate = (np.asarray(cells.layers[f"true_{name}"], dtype=float) for name in ("spliced", "velocity"))
    velocity = log_velocity(rate, abundance)
    truth = {
        "velocity_log": velocity,
        "velocity_pca": velocity @ loadings,
        "time": cells.obs["true_time"].to_numpy(),
        "fate": cells.obs["true_fate"].to_numpy(dtype=str),
        "decided": decided(cells),
    }
    if "true_fate_probability" in cells.obsm:
        share = cells.obsm["true_fate_probability"]
        truth |= {"fate_probability": share.to_numpy(), "fate_groups": share.columns.to_numpy(dtype=str)}
    if "true_phase" in cells.obs:
        truth["phase"] = cells.obs["true_phase"].to_numpy()
    return truth


def log_velocity(rate: np.ndarray, abundance: np.ndarray, total: np.ndarray | None = None) -> np.ndarray:
    """Chain rule of log1p of counts per 10,000, with the growth of these genes; `total` is theirs or that of all."""
    own = abundance.sum(1, keepdims=True)
    scale = TARGET_SUM / (own if total is None else total)
    return scale * (rate - abundance * rate.sum(1, keepdims=True) / own) / (1 + scale * abundance)


def fingerprint(*paths: Path) -> str:
    """Of the content of some files."""
    content = hashlib.sha256()
    for path in sorted(paths):
        content.update(path.read_bytes())
    return content.hexdigest()[:8]


def digest(seen: ad.AnnData) -> str:
    """Fingerprint of the cells and their evidence, but for the components, whose last bits vary."""
    content = hashlib.sha256(seen.obs.to_csv().encode())
    for matrix in (seen.X, *seen.layers.values()):
        content.update(matrix.toarray().astype("<i8").tobytes())
    return content.hexdigest()[:12]
