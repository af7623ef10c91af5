"""The truth of a simulation in the latent space of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from torch import Tensor


def true_velocity(adata: AnnData, *, key_added: str = DEFAULT) -> np.ndarray:
    r"""True latent velocity of simulated cells, through the transform and the encoder of a fitted model.

    With true abundances :math:`s`, their rates :math:`\dot s` and totals :math:`S = \sum s`,
    :math:`\dot z = \partial E(x)\,\dot x` with :math:`x = \log(1 + 10^4 s/S)`.

    Parameters
    ----------
    adata
        Simulated by :mod:`scnode.datasets` and annotated by :func:`scnode.tl.fit` from counts.
    key_added
        Name of the run.

    Returns
    -------
    numpy.ndarray
        Shape (cell, latent), per unit of the simulation's time.

    Raises
    ------
    ScnodeError
        Not a simulation, no fitted model, or a model that does not encode counts.
    """
    import torch

    state, encode = encoded_truth(adata, key_added)
    rate = torch.as_tensor(np.asarray(adata.layers["true_velocity"]), dtype=torch.float64)
    with torch.no_grad():
        return torch.func.jvp(encode, (state,), (rate,))[1].numpy()


def encoded_truth(adata: AnnData, key_added: str) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """True spliced abundances (cell, gene), and what places such in the latent space of a fit."""
    import torch

    from scnode.model import stored_model

    if "true_velocity" not in adata.layers or "true_spliced" not in adata.layers:
        raise ScnodeError("adata has no true velocity. Pass cells of scnode.datasets, such as bifurcation().")
    model = stored_model(adata, key_added)
    if model.encoder is None or model.use_rep is not None or model.transform != "log1p_cp10k":
        raise ScnodeError("The model does not encode counts. Fit with counts in X, without use_rep= and field='rna'.")
    encoder, columns = model.encoder.double(), adata.var_names.get_indexer(model.genes)

    def encode(abundance: Tensor) -> Tensor:
        normalised = (1e4 * abundance / abundance.sum(1, keepdim=True)).log1p()[:, columns]
        return encoder.encode(normalised)

    return torch.as_tensor(np.asarray(adata.layers["true_spliced"]), dtype=torch.float64), encode
