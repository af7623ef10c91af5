"""A linear decoder for a representation of the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import scipy.sparse as sp

    from scnode.nn import LinearDecoder


def regress_decoder(latent: np.ndarray, matrix: sp.csr_matrix) -> tuple[LinearDecoder, float]:
    """Ridge regression of expression (cell, gene) on latent states, and the share of the variance it explains."""
    import torch
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score

    from scnode.nn import LinearDecoder

    expression, states = matrix.toarray(), latent.astype("float32")
    ridge = Ridge().fit(states, expression)
    explained = r2_score(expression, ridge.predict(states), multioutput="variance_weighted")
    mean, weights = (torch.as_tensor(a, dtype=torch.float32) for a in (ridge.intercept_, ridge.coef_))
    return LinearDecoder(mean, weights), float(explained)
