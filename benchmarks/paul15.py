"""Where trajectories from the multipotent root of myelopoiesis end, fitted from pseudotime alone."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
from _table import publish

import scnode
from scnode.data import Support

ROOT = "Multipotent progenitors"
BRANCHES = {
    "erythroid": ["Erythrocyte", "Megakaryocytes"],
    "granulo-monocytic": ["GMP", "Monocytes", "Neutrophils", "Basophils"],
}


def main() -> None:
    scnode.settings.verbosity = 1
    path = Path(os.environ["SCNODE_DATA"]) / "paul15_myeloid.h5ad"
    rows = []
    for evidence in ("monocle_pseudotime", "diffusion pseudotime"):
        adata = ad.read_h5ad(path)
        if evidence == "diffusion pseudotime":
            root = np.flatnonzero(adata.obs["clusters"] == ROOT)
            adata.uns["iroot"] = int(root[np.argmin(adata.obs["monocle_pseudotime"].to_numpy()[root])])
            del adata.obs["monocle_pseudotime"]
        scnode.tl.fit(adata)
        rows += [(evidence, f"{t:g}", *branch_shares(adata, t)) for t in (0.5, 1.0, 2.0)]
    publish(
        __file__,
        "Myeloid progenitors (paul15), from pseudotime",
        ["evidence", "t", *BRANCHES, "at the root", "off the data"],
        rows,
        f"Share of the trajectories from the 167 {ROOT.lower()} by the type that most of the 15 nearest cells of their "
        "ends have. Off the data: mean distance to those cells above the 99 % quantile of the cells' own.",
    )


def branch_shares(adata: ad.AnnData, t: float) -> list[str]:
    """Shares of the branches and of the root among the ends, and of ends off the data."""
    out = scnode.tl.trajectories(adata, start={"clusters": [ROOT]}, t=t, n_steps=2, copy=True)
    ends = out.uns["scnode"]["trajectories"]["latent"][:, 0, -1].astype(float)
    latent, groups = adata.obsm["X_scnode"].astype(float), adata.obs["clusters"].to_numpy(dtype=str)
    support = Support(latent)
    distance, nearest = support.nearest(ends)
    names, code = np.unique(groups, return_inverse=True)
    votes = names[np.stack([(code[nearest] == i).sum(1) for i in range(len(names))], axis=1).argmax(1)]
    far = support.excess(distance) > 0
    shares = [np.isin(votes, types).mean() for types in (*BRANCHES.values(), [ROOT])]
    return [f"{s:.0%}" for s in (*shares, far.mean())]


if __name__ == "__main__":
    main()
