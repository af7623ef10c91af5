"""``python -m scnode``: versions for a bug report; with ``demo``, from simulated counts to a field and its figures."""

from __future__ import annotations

import argparse
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

KNOCKOUTS = ("FateA_TF1", "FateB_TF1")
FATES = ["FateA", "FateB"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="scnode", description="Latent neural ODEs for single-cell dynamics.")
    parser.add_argument("--version", action="version", version=version("scnode"))
    commands = parser.add_subparsers(dest="command", description="Without one, versions for a bug report are printed.")
    demo = commands.add_parser("demo", help="simulate cells of known truth, fit, ask, draw")
    demo.add_argument("--folder", type=Path, default=Path("scnode-demo"), help="where results go (scnode-demo)")
    demo.add_argument("--cells", type=int, default=2500, help="number of cells (2500)")
    demo.add_argument("--seed", type=int, default=0, help="seed of all randomness (0)")
    options = parser.parse_args(argv)
    if options.command is None:
        _say("\n".join(versions()))
        return 0
    run_demo(options.folder, n_cells=options.cells, seed=options.seed)
    return 0


def versions() -> list[str]:
    """Versions of Python, scnode, what it requires, and what is installed of its extras."""
    names = [re.match(r"[\w.-]+", requirement) for requirement in requires("scnode") or ()]
    lines = [f"scnode {version('scnode')}", f"Python {platform.python_version()} on {platform.platform()}"]
    for name in dict.fromkeys(found[0].lower() for found in names if found):
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return lines


def run_demo(folder: Path, *, n_cells: int, seed: int) -> None:
    """Simulate, fit, ask, draw, and say how close the answers are to the truth."""
    import scanpy as sc

    import scnode

    folder.mkdir(parents=True, exist_ok=True)
    _say(f"Simulating {n_cells} cells of a bifurcating gene network")
    adata = scnode.datasets.bifurcation(n_cells=n_cells, rng=seed)
    _say("Fitting a vector field to their spliced and unspliced counts")
    scnode.tl.fit(adata, rng=seed)
    _say("Embedding, velocities, trajectories")
    sc.pp.neighbors(adata, use_rep="X_scnode", transformer="sklearn", random_state=seed)
    sc.tl.umap(adata, random_state=seed)
    scnode.tl.velocity(adata, basis="umap", genes=True)
    scnode.tl.trajectories(adata)
    _say("Knocking out the master regulator of each fate, and measuring the Jacobian")
    for gene in KNOCKOUTS:
        scnode.tl.perturb(adata, {gene: 0.0}, groupby="clusters", groups=FATES, name=f"{gene}_knockout")
    scnode.tl.jacobian(adata, regulators=list(KNOCKOUTS), effectors=list(KNOCKOUTS))
    _draw(adata, folder)
    adata.write_h5ad(folder / "demo.h5ad")
    _say("\n".join(["", *_closeness(adata), "", f"Written: {folder / 'demo.h5ad'} and the figures beside it."]))


def _draw(adata: AnnData, folder: Path) -> None:
    import matplotlib.pyplot as plt

    import scnode

    drawings = {
        "stream": lambda: scnode.pl.velocity_embedding_stream(adata, color="clusters", show=False, return_fig=True),
        "grid": lambda: scnode.pl.velocity_embedding_grid(adata, color="clusters", show=False, return_fig=True),
        "trajectories": lambda: scnode.pl.trajectories(adata, show=False, return_fig=True),
        "history": lambda: scnode.pl.history(adata, show=False, return_fig=True),
        "divergence": lambda: scnode.pl.velocity_embedding_stream(
            adata, color="scnode_divergence", title="divergence", show=False, return_fig=True
        ),
    }
    for name, draw in drawings.items():
        figure = draw()
        figure.savefig(folder / f"{name}.png", dpi=150, bbox_inches="tight")
        plt.close(figure)


def _closeness(adata: AnnData) -> list[str]:
    """The fitted answers beside the simulation's own."""
    import numpy as np

    import scnode
    from scnode.data import Neighbors

    truth = scnode.datasets.true_velocity(adata)
    speed = np.linalg.norm(truth, axis=1)
    fast = speed >= np.median(speed)
    smooth = Neighbors.of(adata.obsm["X_scnode"].astype(float), k=30).mean(truth)
    fitted, ceiling = (
        float(scnode.metrics.cosine(v, truth)[fast].mean()) for v in (adata.obsm["velocity_scnode"], smooth)
    )
    order = adata.obs[["scnode_time", "true_time"]].corr(method="spearman").iloc[0, 1]
    lines = [
        f"Cosine of fitted and true velocity, faster half of the cells: {fitted:.3f} "
        f"({fitted / ceiling:.0%} of the {ceiling:.3f} that 30 neighbours' true velocities reach)",
        f"Rank correlation of the clock with true time: {order:.3f}",
    ]
    known = adata.uns["true_knockouts"]
    for gene in KNOCKOUTS:
        table = scnode.get.perturbation(adata, f"{gene}_knockout").set_index("fate")
        true = known[known["gene"] == gene].set_index("fate")
        lines += [
            f"{gene} knock-out, share of {fate}: fitted {table.loc[fate, 'control']:.2f} -> "
            f"{table.loc[fate, 'perturbed']:.2f}, true {true.loc[fate, 'control']:.2f} -> "
            f"{true.loc[fate, 'knockout']:.2f}"
            for fate in FATES
        ]
    return lines


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
