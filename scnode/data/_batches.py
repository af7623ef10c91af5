"""Batches of cells by number and name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._validation import near

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


@dataclass(frozen=True)
class Batches:
    """Which batch each cell is of.

    Parameters
    ----------
    key
        `obs` column.
    names
        Of the batches, sorted.
    code
        Position in `names`, shape (cell,), int64.
    """

    key: str
    names: tuple[str, ...]
    code: np.ndarray

    @property
    def apart(self) -> np.ndarray | None:
        """The numbers, where there is more than one batch to tell apart."""
        return self.code if len(self.names) > 1 else None


def read_batches(adata: AnnData, key: str, *, known: Sequence[str] | None = None) -> Batches:
    """Batches of an `obs` column, numbered as in `known` where a model has seen them before."""
    if key not in adata.obs:
        raise ScnodeError(f"adata.obs[{key!r}] not found. {near(key, adata.obs.columns)} Pass batch_key=.")
    column = adata.obs[key]
    if column.isna().any():
        raise ScnodeError(f"adata.obs[{key!r}] is missing in {column.isna().sum()} cells. Fill or drop them.")
    labels = column.astype(str).to_numpy(dtype=str)
    names = tuple(sorted(set(labels))) if known is None else tuple(known)
    unseen = sorted(set(labels) - set(names))
    if unseen:
        raise ScnodeError(
            f"adata.obs[{key!r}] holds {unseen[:3]}, batches that the model was not fitted to. It knows {list(names)}: "
            "refit with all batches by scnode.tl.fit, or rename a batch that is one of these."
        )
    place = {name: i for i, name in enumerate(names)}
    return Batches(key, names, np.array([place[label] for label in labels], dtype=np.int64))
