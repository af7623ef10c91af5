"""The noise of a simulation in the latent space of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT

if TYPE_CHECKING:
    from anndata import AnnData


def true_diffusion(adata: AnnData, *, key_added: str = DEFAULT) -> np.ndarray:
    r"""True latent diffusion of simulated cells, through the transform and the encoder of a fitted model.

    The Langevin noise of a spliced level is :math:`\sigma_i = \epsilon\sqrt{S_i(\beta_i u_i + \gamma_i s_i)}` with
    :math:`S_i` the level of full induction, and with :math:`J` the Jacobian of the latent state by the true
    abundances the latent state has by Itô's rule the diffusion

    .. math:: G_k = \Big(\sum_i J_{ki}^2 \sigma_i^2\Big)^{1/2} .

    It is what shakes a state from one moment to the next. Noise of unspliced levels enters later, through splicing.

    Parameters
    ----------
    adata
        Simulated by :mod:`scnode.datasets` and annotated by :func:`scnode.tl.fit` from counts.
    key_added
        Name of the run.

    Returns
    -------
    numpy.ndarray
        Shape (cell, latent), per square root of the simulation's time.

    Raises
    ------
    ScnodeError
        Not a simulation with Langevin noise, no fitted model, or a model that does not encode counts.
    """
    import torch

    from scnode.datasets._true_velocity import encoded_truth

    state, encode = encoded_truth(adata, key_added)
    noise = adata.uns["simulation"]["parameters"].get("noise")
    if noise is None:
        raise ScnodeError("The simulation has no Langevin noise. Pass cells of scnode.datasets.bifurcation().")
    unspliced = np.asarray(adata.layers["true_unspliced"], dtype=float)
    beta, gamma, most = (adata.var[name].to_numpy() for name in ("beta", "gamma", "alpha_max"))
    turnover = beta * unspliced + gamma * state.numpy()
    variance = torch.from_numpy(float(noise) ** 2 * most / gamma * turnover)

    def spread(s: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        jacobian = torch.func.jacrev(lambda x: encode(x.unsqueeze(0))[0])(s)
        return (jacobian.square() @ v).sqrt()

    with torch.no_grad():
        return torch.func.vmap(spread, chunk_size=256)(state, variance).numpy()
