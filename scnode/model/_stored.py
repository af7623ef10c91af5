"""The model that lives in an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._validation import near
from scnode.model._latent_ode import LatentODE

if TYPE_CHECKING:
    from anndata import AnnData


def stored_model(adata: AnnData, run: str = DEFAULT) -> LatentODE:
    """Rebuild the model of a run from `.uns`, or say which call makes it."""
    keys = Keys(run)
    stored = adata.uns.get(keys.uns)
    if stored is None or "model" not in stored:
        raise ScnodeError(
            f"adata.uns[{keys.uns!r}] holds no fitted model. {near(keys.uns, adata.uns)} "
            "Run scnode.tl.fit(adata) first, or pass key_added=."
        )
    for part in (keys.latent, keys.velocity):
        if part not in adata.obsm:
            raise ScnodeError(f"adata.obsm[{part!r}] is missing. Run scnode.tl.fit(adata) again.")
    return LatentODE.from_arrays(stored["model"])
