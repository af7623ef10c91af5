"""What lives in an AnnData: the model of a run, and what its tools have found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._validation import near
from scnode.model._latent_ode import LatentODE

if TYPE_CHECKING:
    from anndata import AnnData

_FIT = "scnode.tl.fit(adata)"


def stored_model(adata: AnnData, run: str = DEFAULT) -> LatentODE:
    """Rebuild the model of a run from `.uns`, or say which call makes it."""
    keys = Keys(run)
    stored = stored_run(adata, run).get("model")
    if stored is None:
        raise ScnodeError(
            f"adata.uns[{keys.uns!r}] holds no fitted model. {near(keys.uns, adata.uns)} "
            "Run scnode.tl.fit(adata) first, or pass key_added=."
        )
    for part in (keys.latent, keys.velocity):
        if part not in adata.obsm:
            raise ScnodeError(f"adata.obsm[{part!r}] is missing. Run scnode.tl.fit(adata) again.")
    model = LatentODE.from_arrays(stored)
    for part in (keys.latent, keys.velocity):
        _check_states(adata, part, model.n_latent)
    return model


def stored_run(adata: AnnData, run: str) -> Mapping[str, Any]:
    """All that is stored of a run, nothing where there is none."""
    stored = adata.uns.get(run, {})
    if not isinstance(stored, Mapping):
        raise ScnodeError(f"adata.uns[{run!r}] is a {type(stored).__name__}, not one of scnode. Pass key_added=.")
    return stored


@contextmanager
def stored_result(adata: AnnData, run: str, name: str, *, by: str = _FIT) -> Iterator[Any]:
    """What the call `by` has stored, None where it has not; what does not read as that is told in a sentence."""
    stored = stored_run(adata, run).get(name)
    try:
        yield stored
    except ScnodeError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ScnodeError(
            f"adata.uns[{run!r}][{name!r}] is damaged or not one of scnode ({type(error).__name__}: {error}). "
            f"Run {by} again."
        ) from error


def _check_states(adata: AnnData, key: str, n_latent: int) -> None:
    values = adata.obsm[key]
    plain = isinstance(values, np.ndarray) and values.dtype.kind == "f" and values.shape == (adata.n_obs, n_latent)
    if not plain or not np.isfinite(values).all():
        raise ScnodeError(
            f"adata.obsm[{key!r}] is not {n_latent} finite numbers a cell, as the model's. Run {_FIT} again."
        )
