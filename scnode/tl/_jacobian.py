"""What the Jacobian of the fitted field says at every cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._write import written
from scnode.model import stored_model
from scnode.tl._cell_clock import cell_clock
from scnode.tl._control import own_control
from scnode.tl._parts import each_part

if TYPE_CHECKING:
    from anndata import AnnData
    from distributed import Client
    from torch import Tensor

    from scnode.model import LatentODE
    from scnode.nn import Encoder

_NUMBERS = 1 << 22


def jacobian(
    adata: AnnData,
    *,
    regulators: Sequence[str] | None = None,
    effectors: Sequence[str] | None = None,
    client: Client | None = None,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Jacobian :math:`J = \partial f/\partial z` of the ensemble mean at every cell.

    It is taken under each cell's own input, and at its clock, where the field depends on them.

    At gene level, with the encoder :math:`E` and the decoder :math:`D`, the response of the rate of gene :math:`e` to
    gene :math:`r` is :math:`\partial\dot x_e/\partial x_r = \partial D_e(z)\, J\, \partial_r E(D(z))`; with principal
    components :math:`W` this is :math:`w_e^\top J\, w_r`. In a model of RNA it is the response of transcription to
    spliced abundance, :math:`\partial\alpha_e/\partial s_r` (counts per 10,000 each, per unit of the clock).

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit`.
    regulators, effectors
        Genes :math:`r` and :math:`e`; name both for the gene level, or neither.
    client
        A :class:`dask.distributed.Client <distributed.Client>` whose workers take the cells, some thousands at a time.
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
        No fitted model, genes without a decoder, only one side named, a gene that the model does not have,
        or a client whose workers give no answer.
    """
    keys = Keys(key_added)
    model = stored_model(adata, key_added)
    columns = _columns(model, effectors, regulators)
    parts = of_jacobians(partial(_measures, columns=columns), adata, model, keys, client=client)
    divergence, norm, eigenvalues, genes = (np.concatenate(p) for p in zip(*parts, strict=True))
    with written(adata, copy=copy) as result:
        result.obs[keys.divergence] = divergence
        result.obs[keys.jacobian_norm] = norm
        result.obsm[keys.eigenvalues] = eigenvalues
        if regulators is not None and effectors is not None:
            stored = {"regulators": list(regulators), "effectors": list(effectors), "values": genes}
            result.uns[keys.uns] = {**result.uns[keys.uns], "jacobian": stored}
    return result if copy else None


def of_jacobians(
    measure: Callable[[LatentODE, Tensor, Tensor], Any],
    adata: AnnData,
    model: LatentODE,
    keys: Keys,
    *,
    client: Client | None,
) -> list[Any]:
    """What `measure` says of states (cell, latent) and the Jacobians there, some cells at a time."""
    import torch

    latent = torch.from_numpy(np.asarray(adata.obsm[keys.latent], dtype=np.float32))
    cells = latent, cell_clock(adata, model, keys), own_control(adata, model)
    size = max(1, _NUMBERS // model.n_latent**2)
    return each_part(partial(_measured, measure), model, cells, size=size, client=client, name="Jacobian")


def _measured(
    measure: Callable[[LatentODE, Tensor, Tensor], Any],
    model: LatentODE,
    states: Tensor,
    clock: Tensor,
    control: Tensor | None,
) -> Any:
    """Of some cells, each under its own input and at its clock."""
    import torch

    with torch.no_grad():
        return measure(model, states, model.under(control).jacobian(clock, states))


def _columns(
    model: LatentODE, effectors: Sequence[str] | None, regulators: Sequence[str] | None
) -> tuple[list[int], list[int]]:
    """Places of both sides among the genes of the model."""
    if effectors is None and regulators is None:
        return [], []
    if not effectors or not regulators or isinstance(effectors, str) or isinstance(regulators, str):
        raise ScnodeError("The gene level needs both sides: pass regulators=['A'] and effectors=['B'].")
    return model.columns(effectors), model.columns(regulators)


def _measures(
    model: LatentODE, states: Tensor, matrices: Tensor, columns: tuple[list[int], list[int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    import torch

    from scnode import ode
    from scnode.nn import Moments, RNAField

    effectors, regulators = columns
    values = np.linalg.eigvals(matrices.numpy())
    # Ties in the real part are broken by the imaginary one, so that conjugate pairs keep one order.
    order = np.lexsort((-values.imag, -values.real), axis=1)
    values = np.take_along_axis(values, order, axis=1)
    pairs = np.concatenate([values.real, values.imag], axis=1).astype(np.float32)
    genes = np.zeros((len(states), 0, 0), dtype=np.float32)
    if effectors and isinstance(model.field, RNAField) and isinstance(model.decoder, Moments):
        unit = model.decoder.unit
        with torch.no_grad():
            response = model.field.regulation(states) * unit[:, None] / unit
        genes = response[:, effectors][:, :, regulators].numpy()
    elif effectors:
        left, right = _differentials(model.decoder, states, effectors, regulators)
        genes = torch.einsum("nel,nlk,nkr->ner", left, matrices, right).numpy()
    return ode.divergence(matrices).numpy(), ode.spectral_norm(matrices).numpy(), pairs, genes


def _differentials(
    decoder: Encoder, states: Tensor, effectors: list[int], regulators: list[int]
) -> tuple[Tensor, Tensor]:
    """Decoder's (cell, effector, latent) and, at the decoded expression, encoder's (cell, latent, regulator)."""
    import torch

    axes = torch.eye(decoder.n_latent, dtype=states.dtype)
    with torch.no_grad():
        left = [decoder.decode_velocity(states, axis.expand_as(states))[:, effectors] for axis in axes]
        pull = torch.func.vjp(decoder.encode, decoder.decode(states))[1]
        right = [pull(axis.expand_as(states))[0][:, regulators] for axis in axes]
    return torch.stack(left, 2), torch.stack(right, 1)
