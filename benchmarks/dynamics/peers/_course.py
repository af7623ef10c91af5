"""A time course in the units that published settings stand in: days in steps, states in the spread of scaled genes."""

from __future__ import annotations

from dataclasses import dataclass

import anndata as ad
import numpy as np

TARGET_SUM = 1e4


@dataclass(frozen=True)
class Course:
    """Days in least intervals and components over the spread of a gene; the day asked for, and the one before it."""

    states: np.ndarray
    day: np.ndarray
    asked: float | None
    spread: float
    interval: float

    @classmethod
    def of(cls, adata: ad.AnnData) -> Course:
        days, spread = adata.obs["day"].to_numpy(dtype=float), gene_spread(adata)
        interval = float(np.diff(np.unique(days)).min())
        asked = round(float(adata.uns["predict"]) / interval, 3) if "predict" in adata.uns else None
        states = np.asarray(adata.obsm["X_pca"], dtype=np.float32) / np.float32(spread)
        return cls(states, np.round(days / interval, 3), asked, spread, interval)

    @property
    def before(self) -> float:
        return float(self.day[self.day < self.asked].max())

    def steps(self, dt: float) -> int:
        """From the day before to the day asked."""
        return round((self.asked - self.before) / dt)

    def answer(self, drift: np.ndarray, cloud: np.ndarray | None) -> dict[str, np.ndarray]:
        """Back in the units of the file."""
        found = {"velocity_pca": drift * self.spread / self.interval}
        return found if cloud is None else found | {"cloud": cloud * self.spread}


def gene_spread(adata: ad.AnnData) -> float:
    """Root mean variance of the log-normalised genes, which is 1 for scaled ones."""
    counts = adata.X.toarray().astype(float)
    logs = np.log1p(TARGET_SUM * counts / counts.sum(1, keepdims=True))
    return float(np.sqrt(logs.var(0).mean()))
