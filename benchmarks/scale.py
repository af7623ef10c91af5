"""Time and memory of a fit and of the tools, by the number of cells: `python benchmarks/scale.py 10000 100000`.

Cells are simulated into an h5ad of sparse counts in chunks, and fitted backed in a process of its own for each number
of them, whose processor time and peak of memory are read. The table is kept in `scale.md` beside this script.
"""

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

N_GENES, BLOCK, DEPTH = 2000, 10_000, 100.0


def simulate(path, n_cells):
    """Counts along a curve with two ends, about 5 % of them not zero."""
    import anndata as ad

    rng = np.random.default_rng(0)
    phase, pace = rng.uniform(0, 2 * np.pi, N_GENES), rng.uniform(0.5, 3, N_GENES)
    level = rng.gamma(0.3, 1.0, N_GENES)
    time_, side = rng.uniform(size=n_cells), rng.integers(0, 2, n_cells)
    obs = pd.DataFrame({"pseudotime": time_}, index=np.arange(n_cells).astype(str))
    ad.AnnData(sp.csr_matrix((n_cells, N_GENES), dtype=np.float32), obs=obs).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file["X"]
        # Without a size, chunks would be as long as the empty matrix, and their table larger than all counts.
        layout = {"chunks": (1 << 16,)}
        ad.io.write_elem(file, "X", sp.csr_matrix((0, N_GENES), dtype=np.float32), dataset_kwargs=layout)
        matrix = ad.io.sparse_dataset(file["X"])
        for first in range(0, n_cells, BLOCK):
            rows = slice(first, min(first + BLOCK, n_cells))
            branch = (side[rows] - 0.5)[:, None] * np.maximum(time_[rows] - 0.5, 0)[:, None]
            rate = level * np.exp(np.sin(pace * (2 * time_[rows, None] + branch) + phase))
            counts = rng.poisson(DEPTH * rate / rate.sum(1, keepdims=True)).astype(np.float32)
            counts[:, 0] += 1
            matrix.append(sp.csr_matrix(counts))


def measure(path, target):
    """Processor seconds of every step, and the peak of memory in GB."""
    import anndata as ad
    import torch

    import scnode
    from scnode.data import _chunks

    torch.set_num_threads(1)
    scnode.settings.verbosity = 0
    # Small ones would be read as a whole.
    _chunks._MOST = 0
    adata = ad.read_h5ad(path, backed="r")
    found = {"cells": adata.n_obs}
    steps = {
        "fit": lambda: scnode.tl.fit(adata, pseudotime_key="pseudotime", n_members=2, max_epochs=5, accelerator="cpu"),
        "jacobian": lambda: scnode.tl.jacobian(adata),
        "ftle": lambda: scnode.tl.ftle(adata),
        "velocity": lambda: scnode.tl.transition_matrix(adata),
    }
    for name, step in steps.items():
        begun = time.process_time()
        step()
        found[name] = round(time.process_time() - begun, 1)
    found["peak_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
    Path(target).write_text(json.dumps(found))


def table(rows):
    """With the exponent of growth from the row above."""
    names = ["fit", "jacobian", "ftle", "velocity", "peak_gb"]
    lines = ["| cells | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for i, row in enumerate(rows):
        cells = [f"{row[n]:g}" for n in names]
        if i:
            ratio = np.log(row["cells"] / rows[i - 1]["cells"])
            grown = [np.log(max(row[n], 0.1) / max(rows[i - 1][n], 0.1)) / ratio for n in names]
            cells = [f"{c} (^{g:.2f})" for c, g in zip(cells, grown, strict=True)]
        lines.append(f"| {row['cells']:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    rows = []
    context = multiprocessing.get_context("spawn")
    for n_cells in map(int, sys.argv[1:] or ["10000", "100000"]):
        with tempfile.TemporaryDirectory() as folder:
            simulate(Path(folder) / "cells.h5ad", n_cells)
            child = context.Process(target=measure, args=(f"{folder}/cells.h5ad", f"{folder}/found.json"))
            child.start()
            child.join()
            rows.append(json.loads(Path(f"{folder}/found.json").read_text()))
        print(table(rows), flush=True)
    Path(__file__).with_suffix(".md").write_text(HEAD + table(rows) + "\n")


HEAD = """# Time and memory by the number of cells

Simulated sparse counts of 2,000 genes, backed by an h5ad and read in chunks; processor seconds on one thread (a fit of
two members and at most five epochs; velocity stands for its matrix of transitions), and the peak of memory in GB, which
is that of the last step, whose graph of neighbours stands in memory; in brackets the exponent of growth from the row
above. Neighbours are searched exactly up to 50,000 cells and approximately above, by code that is compiled first.
Written by `python benchmarks/scale.py`.

"""

if __name__ == "__main__":
    main()
