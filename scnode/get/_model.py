"""The fitted model of an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scnode._keys import DEFAULT

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode.model import LatentODE


def model(adata: AnnData, *, key_added: str = DEFAULT) -> LatentODE:
    """Rebuild the fitted model from ``uns["scnode"]["model"]``.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit`, in this process or read from a file.
    key_added
        Name of the run.

    Returns
    -------
    LatentODE
        The model, in evaluation mode.

    Raises
    ------
    ScnodeError
        There is no fitted model, or it is damaged.
    """
    from scnode.model import stored_model

    return stored_model(adata, key_added)
