"""Velocities of the fitted field in an embedding and in gene space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._validation import check_obsm
from scnode._write import written
from scnode.model import stored_model
from scnode.tl._transition_matrix import transitions

if TYPE_CHECKING:
    import scipy.sparse as sp
    from anndata import AnnData

    from scnode.model import LatentODE

_CHUNK = 4096


def velocity(
    adata: AnnData, *, basis: str | None = None, genes: bool = False, key_added: str = DEFAULT, copy: bool = False
) -> AnnData | None:
    r"""Show the fitted velocity in an embedding or in gene space.

    In an embedding :math:`e`, :math:`v^e_i = \sum_j (P_{ij} - 1/k)(e_j - e_i)/\|e_j - e_i\|` over the neighbours,
    with :math:`P` of :func:`scnode.tl.transition_matrix`; in gene space :math:`\dot x = \partial D(z)\,\dot z` with the
    decoder :math:`D`. A model of RNA has :math:`\dot s = \beta u - \gamma s` of its own.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit`.
    basis
        Embedding, ``"umap"`` for ``obsm["X_umap"]``.
    genes
        Whether to write the gene velocity; genes outside the encoder get NaN.
    key_added, copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``obsm["velocity_scnode_<basis>"]`` (cell, 2) and, with `genes`, ``layers["velocity_scnode"]``
        (cell, gene; log-normalised units per unit of the clock, of a model of RNA counts per 10,000).

    Raises
    ------
    ScnodeError
        No fitted model, an unknown basis, or `genes` without a decoder.

    References
    ----------
    :cite:p:`LaManno2018`
    """
    keys = Keys(key_added)
    model = stored_model(adata, key_added)
    if basis is None and not genes:
        raise ScnodeError("Nothing to do: pass basis='umap' or genes=True.")
    gene_velocity = _decode(adata, model, keys) if genes else None
    name = None if basis is None else basis.removeprefix("X_")
    embedding = None if name is None else check_obsm(adata, f"X_{name}", argument="basis")
    with written(adata, copy=copy) as result:
        if name is not None and embedding is not None:
            latent = np.asarray(adata.obsm[keys.latent], dtype=float)
            matrix = transitions(latent, np.asarray(adata.obsm[keys.velocity], dtype=float))
            result.obsm[keys.velocity_in(name)] = _embed(matrix, embedding)
        if gene_velocity is not None:
            result.layers[keys.velocity] = gene_velocity
    return result if copy else None


def _decode(adata: AnnData, model: LatentODE, keys: Keys) -> np.ndarray:
    """Gene velocity (cell, gene), NaN where the model has no gene."""
    import torch

    from scnode.nn import Moments

    decoder, columns = model.decoder, adata.var_names.get_indexer(model.genes)
    if (columns < 0).any():
        missing = [g for g, c in zip(model.genes, columns, strict=True) if c < 0]
        raise ScnodeError(f"{len(missing)} genes of the model are not in adata.var_names (first: {missing[:3]}).")
    latent, velocity = (np.asarray(adata.obsm[k], dtype=np.float32) for k in (keys.latent, keys.velocity))
    layer = np.full(adata.shape, np.nan, dtype=np.float32)
    with torch.no_grad():
        for rows in np.array_split(np.arange(adata.n_obs), max(1, adata.n_obs // _CHUNK)):
            z, v = torch.from_numpy(latent[rows]), torch.from_numpy(velocity[rows])
            rate = decoder.abundance(v)[1] if isinstance(decoder, Moments) else decoder.decode_velocity(z, v)
            layer[np.ix_(rows, columns)] = rate.numpy()
    return layer


def _embed(matrix: sp.csr_matrix, embedding: np.ndarray) -> np.ndarray:
    coo = matrix.tocoo()
    move = embedding[coo.col] - embedding[coo.row]
    length = np.linalg.norm(move, axis=1, keepdims=True)
    move = np.divide(move, length, out=np.zeros_like(move), where=length > 0)
    k = np.bincount(coo.row, minlength=len(embedding))
    weight = (coo.data - 1 / k[coo.row])[:, None]
    out = np.zeros_like(embedding)
    np.add.at(out, coo.row, weight * move)
    return out
