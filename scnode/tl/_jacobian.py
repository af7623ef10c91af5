"""What the Jacobian of the fitted field says at every cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._validation import near
from scnode.model import stored_model

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode.model import LatentODE

_CHUNK = 4096


def jacobian(
    adata: AnnData,
    *,
    regulators: Sequence[str] | None = None,
    effectors: Sequence[str] | None = None,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Jacobian :math:`J = \partial f/\partial z` of the ensemble mean at every cell.

    At gene level, with the encoder's loadings :math:`W`, the response of the rate of gene :math:`e` to gene :math:`r`
    is :math:`\partial\dot x_e/\partial x_r = w_e^\top J\, w_r`.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit`.
    regulators, effectors
        Genes :math:`r` and :math:`e`; name both for the gene level, or neither.
    key_added, copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``obs["scnode_divergence"]`` (trace of J) and ``obs["scnode_jacobian_norm"]`` (spectral norm), both per
        unit of the clock, ``obsm["scnode_eigenvalues"]`` (cell, 2 latent; the real parts in falling order, then their
        imaginary parts) and, with genes, ``uns["scnode"]["jacobian"]``: `regulators`, `effectors` and `values`
        (cell, effector, regulator).

    Raises
    ------
    ScnodeError
        No fitted model, genes without a decoder, only one side named, or a gene that the model does not have.
    """
    keys = Keys(key_added)
    model = stored_model(adata, key_added)
    left, right = _gene_loadings(model, effectors, regulators)
    latent = np.asarray(adata.obsm[keys.latent], dtype=np.float32)
    parts = [_measures(model, chunk, left, right) for chunk in np.array_split(latent, max(1, len(latent) // _CHUNK))]
    divergence, norm, eigenvalues, genes = (np.concatenate(p) for p in zip(*parts, strict=True))
    result = adata.copy() if copy else adata
    result.obs[keys.divergence] = divergence
    result.obs[keys.jacobian_norm] = norm
    result.obsm[keys.eigenvalues] = eigenvalues
    if regulators is not None and effectors is not None:
        stored = {"regulators": list(regulators), "effectors": list(effectors), "values": genes}
        result.uns[keys.uns] = {**result.uns[keys.uns], "jacobian": stored}
    return result if copy else None


def _gene_loadings(
    model: LatentODE, effectors: Sequence[str] | None, regulators: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray]:
    if effectors is None and regulators is None:
        return np.zeros((0, model.n_latent), np.float32), np.zeros((0, model.n_latent), np.float32)
    if not effectors or not regulators or isinstance(effectors, str) or isinstance(regulators, str):
        raise ScnodeError("The gene level needs both sides: pass regulators=['A'] and effectors=['B'].")
    if model.encoder is None:
        raise ScnodeError(f"The model lives in obsm[{model.use_rep!r}] and has no decoder. Fit without use_rep=.")
    unknown = [g for g in (*effectors, *regulators) if g not in model.genes]
    if unknown:
        raise ScnodeError(
            f"{unknown} are not among the {len(model.genes)} genes of the model. {near(unknown[0], model.genes)}"
        )
    loadings = model.encoder.components.numpy()
    left, right = (loadings[[model.genes.index(g) for g in genes]] for genes in (effectors, regulators))
    return left, right


def _measures(
    model: LatentODE, latent: np.ndarray, left: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    import torch

    from scnode import ode

    matrices = ode.jacobian(model.field.mean, torch.from_numpy(latent))
    values = np.linalg.eigvals(matrices.numpy())
    # Ties in the real part are broken by the imaginary one, so that conjugate pairs keep one order.
    order = np.lexsort((-values.imag, -values.real), axis=1)
    values = np.take_along_axis(values, order, axis=1)
    pairs = np.concatenate([values.real, values.imag], axis=1).astype(np.float32)
    genes = np.einsum("el,nlk,rk->ner", left, matrices.numpy(), right)
    return ode.divergence(matrices).numpy(), ode.spectral_norm(matrices).numpy(), pairs, genes
