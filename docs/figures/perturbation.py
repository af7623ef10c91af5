"""Draw the figure of the page on perturbations: python docs/figures/perturbation.py (about a minute)."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt

import scnode

GENE, NAME = "FateA_TF1", "knock-out"


def main(path: Path) -> None:
    """Fit simulated cells, switch the regulator of one fate off, and draw all four kinds of plot."""
    adata = scnode.datasets.bifurcation(n_cells=600, rng=0)
    scnode.tl.fit(adata, n_latent=10, max_epochs=40, rng=0)
    adata.obsm["X_latent"] = adata.obsm["X_scnode"][:, :2]
    groups = ["FateA", "FateB"]
    scnode.tl.perturb(adata, {GENE: 0.0}, groupby="clusters", groups=groups, name=NAME)
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    for ax, kind in zip(axes.flat, ("fates", "field", "trajectories", "expression"), strict=True):
        options = {} if kind in {"fates", "expression"} else {"color": "clusters", "size": 20, "basis": "latent"}
        scnode.pl.perturbation(adata, NAME, kind=kind, ax=ax, title=f'kind="{kind}"', show=False, **options)
    figure.savefig(path, dpi=90)
    sys.stdout.write(scnode.get.perturbation(adata, NAME).round(3).to_string() + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "_static" / "perturbation.png")
