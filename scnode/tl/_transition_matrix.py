"""Transition probabilities between cells along the fitted field."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, TRANSITIONS, Keys
from scnode._write import written
from scnode.data import Neighbors
from scnode.model import stored_model

if TYPE_CHECKING:
    from anndata import AnnData

_PAIRS = 1 << 21


def transition_matrix(
    adata: AnnData, *, n_neighbors: int = 30, key_added: str = DEFAULT, copy: bool = False
) -> AnnData | None:
    r"""Row-stochastic :math:`P_{ij} \propto e^{\kappa\cos(z_j - z_i,\, v_i)}` over the nearest cells.

    Velocities are those of the cells at their own clock; of a field that depends on time the chain is a walk that no
    single time has.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit`.
    n_neighbors
        Cells that a cell may move to.
    key_added, copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``obsp["T_fwd"]`` (cell, cell), CSR, read by CellRank's ``PrecomputedKernel``.

    Raises
    ------
    ScnodeError
        No fitted model, or no neighbours to move to.

    References
    ----------
    :cite:p:`Bergen2020`, :cite:p:`Lange2022`
    """
    stored_model(adata, key_added)
    if not 1 <= n_neighbors < adata.n_obs:
        raise ScnodeError(f"n_neighbors={n_neighbors} must be at least 1 and below the {adata.n_obs} cells. Pass such.")
    keys = Keys(key_added)
    latent, velocity = (np.asarray(adata.obsm[k], dtype=float) for k in (keys.latent, keys.velocity))
    with written(adata, copy=copy) as result:
        result.obsp[TRANSITIONS] = transitions(latent, velocity, n_neighbors=n_neighbors)
    return result if copy else None


def transitions(
    latent: np.ndarray,
    velocity: np.ndarray,
    *,
    n_neighbors: int = 30,
    sharpness: float = 8.0,
    near: np.ndarray | None = None,
) -> sp.csr_matrix:
    """Transition probabilities to the nearest other cells, or to those of `near` (cell, neighbour)."""
    if near is None:
        near = Neighbors.of(latent, k=n_neighbors + 1).index[:, 1:]
    parts = np.array_split(np.arange(len(near)), 1 + near.size // _PAIRS)
    weight = np.concatenate([_weights(latent, velocity, near, rows, sharpness) for rows in parts])
    n, k = near.shape
    matrix = sp.csr_matrix((weight.ravel(), near.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    matrix.sort_indices()
    return matrix


def _weights(
    latent: np.ndarray, velocity: np.ndarray, near: np.ndarray, rows: np.ndarray, sharpness: float
) -> np.ndarray:
    """Probabilities (row, neighbour) by the angle between the velocity and the way there."""
    move = latent[near[rows]] - latent[rows, None]
    length = np.linalg.norm(move, axis=2) * np.linalg.norm(velocity[rows], axis=1)[:, None]
    along = np.einsum("nkd,nd->nk", move, velocity[rows])
    cos = np.divide(along, length, out=np.zeros_like(along), where=length > 0)
    weight = np.exp(sharpness * (cos - cos.max(1, keepdims=True)))
    return weight / weight.sum(1, keepdims=True)
