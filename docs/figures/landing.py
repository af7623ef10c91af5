"""Draw the picture of the landing page: python docs/figures/landing.py (about three minutes)."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import scanpy as sc

import scnode

FATES = ["FateA", "FateB", "FateC"]


def main() -> None:
    """Fit simulated cells with three fates, and draw three answers of the one field."""
    adata = scnode.datasets.branching(n_cells=2000, rng=0)
    scnode.tl.fit(adata)
    sc.pp.neighbors(adata, use_rep="X_scnode", transformer="sklearn")
    sc.tl.umap(adata)
    scnode.tl.velocity(adata, basis="umap")
    scnode.tl.ftle(adata)
    scnode.tl.ood(adata)
    draw(adata).savefig(Path(__file__).parents[1] / "_static" / "landing.png", dpi=120)


def draw(adata: sc.AnnData) -> plt.Figure:
    """Where cells go, where fates part, and where not to believe either."""
    figure, axes = plt.subplots(1, 3, figsize=(10.4, 3.5), layout="constrained")
    scnode.pl.velocity_embedding_stream(adata, color="clusters", legend_loc="right margin", ax=axes[0], show=False)
    scnode.pl.ftle(adata, ax=axes[1], show_ridges=False, show=False)
    sc.pl.umap(adata, color="scnode_ood", color_map="cividis", vmin=0, vmax=1, ax=axes[2], show=False)
    titles = ("Where do cells go?", "Where do fates part?", "Where not to believe it?")
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=14)
    return figure


if __name__ == "__main__":
    main()
