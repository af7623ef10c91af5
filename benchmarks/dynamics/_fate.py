"""Fate probabilities of undecided cells against the fates that they reach."""

from __future__ import annotations

import numpy as np
from _data import Case
from sklearn.metrics import roc_auc_score

COLUMNS = ("AUC", "Brier score", "probability")


def scores(case: Case, found: dict[str, np.ndarray]) -> dict[str, float]:
    """Over the cells that are not yet of the cluster of their fate, and reach one of the labelled fates."""
    groups = found["fate_groups"].astype(str)
    fate = case.truth["fate"].astype(str)
    cells = ~case.truth["decided"] & np.isin(fate, groups)
    share = np.nan_to_num(found["fate"][cells], nan=1 / len(groups))
    reached = (fate[cells, None] == groups).astype(float)
    same = [list(case.truth["fate_groups"]).index(g) for g in groups]
    both = [k for k in range(len(groups)) if 0 < reached[:, k].mean() < 1]
    return {
        "AUC": float(np.mean([roc_auc_score(reached[:, k], share[:, k]) for k in both])),
        "Brier score": float(((share - reached) ** 2).sum(1).mean()),
        "probability": float(np.sqrt(((share - case.truth["fate_probability"][cells][:, same]) ** 2).mean())),
    }
