"""Penalised least squares whose penalty the data choose."""

from __future__ import annotations

import torch
from torch import Tensor

_PENALTIES = 10.0 ** torch.arange(-8, 2, dtype=torch.float64)


def ridge(features: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    r"""Coefficients (feature, out) that minimise :math:`\sum_i w_i\|\phi_i c - v_i\|^2 + \lambda\|c\|^2`.

    Of ten penalties, in units of the mean eigenvalue of the normal matrix, generalised cross-validation takes one.
    """
    weight = weight / weight.sum()
    normal, moment = (features.T * weight) @ features, (features.T * weight) @ target
    values, vectors = torch.linalg.eigh(normal)
    values, turned = values.clamp_min(0), vectors.T @ moment
    # Rows of unequal weight count for fewer.
    n_rows = 1 / weight.square().sum()
    penalties = _PENALTIES.to(features) * values.mean()
    shrunk = values[:, None] + penalties
    square = (weight @ target.square()).sum()
    fitted = (turned.square().sum(1)[:, None] * (values[:, None] + 2 * penalties) / shrunk.square()).sum(0)
    freedom = (1 - (values[:, None] / shrunk).sum(0) / n_rows).clamp_min(1e-3)
    best = ((square - fitted) / freedom.square()).argmin()
    return vectors @ (turned / shrunk[:, best, None])
