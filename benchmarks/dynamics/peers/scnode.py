"""scnode: the field from counts or from days, with fates where cells are labelled and the day asked where one is."""

from __future__ import annotations

import anndata as ad
import numpy as np
import torch

import scnode


def run(adata: ad.AnnData) -> dict[str, np.ndarray]:
    scnode.settings.verbosity = 1
    time_key = "day" if "day" in adata.obs else None
    scnode.tl.fit(adata, time_key=time_key, rng=int(adata.uns["seed"]))
    scnode.tl.velocity(adata, genes=True)
    rate = np.asarray(adata.layers["velocity_scnode"], dtype=float)
    found = {
        "velocity_pca": rate @ adata.varm["PCs"],
        "velocity_log": rate,
        "time": adata.obs["scnode_time"].to_numpy(dtype=float),
    }
    if "terminal" in adata.obs:
        found |= fate(adata)
    if "predict" in adata.uns:
        found["cloud"] = cloud(adata)
    return found


def fate(adata: ad.AnnData) -> dict[str, np.ndarray]:
    groups = sorted(set(adata.obs["terminal"].astype(str)) - {""})
    scnode.tl.fate(adata, groupby="terminal", groups=groups)
    share = adata.obsm["scnode_fate"]
    return {"fate": share[groups].to_numpy(dtype=float), "fate_groups": np.array(groups)}


def cloud(adata: ad.AnnData) -> np.ndarray:
    """The day before, carried to the day asked."""
    asked, day = float(adata.uns["predict"]), adata.obs["day"].to_numpy()
    before = day[day < asked].max()
    unit = adata.uns["scnode"]["report"]["time_unit"]
    times = (np.array([before, asked]) - float(unit["origin"])) / float(unit["span"])
    states = torch.as_tensor(np.asarray(adata.obsm["X_scnode"])[day == before], dtype=torch.float32)
    model = scnode.get.model(adata)
    with torch.no_grad():
        ends = model.flow(states, torch.as_tensor(times, dtype=torch.float32))[:, 0, -1]
        logs = model.decoder.decode(ends).numpy()
    return (logs - adata.uns["mean"]) @ adata.varm["PCs"]
