"""CellRank: velocity kernel with a fifth of the connectivity kernel, fates of the labelled cells."""

from __future__ import annotations

import anndata as ad
import cellrank as cr
import numpy as np
from _scvelo_steps import moments, velocity


def run(adata: ad.AnnData, mode: str) -> dict[str, np.ndarray]:
    work = moments(adata)
    velocity(work, mode)
    cr.settings.verbosity = 0
    moving = cr.kernels.VelocityKernel(work).compute_transition_matrix(show_progress_bar=False)
    alike = cr.kernels.ConnectivityKernel(work).compute_transition_matrix()
    estimator = cr.estimators.GPCCA(0.8 * moving + 0.2 * alike)
    label = work.obs["terminal"].astype(str)
    groups = sorted(set(label) - {""})
    estimator.set_terminal_states({group: work.obs_names[label == group].tolist() for group in groups})
    estimator.compute_fate_probabilities(show_progress_bar=False)
    fate = estimator.fate_probabilities
    return {"fate": np.asarray(fate[groups].X, dtype=float), "fate_groups": np.array(groups)}
