"""Results go into an AnnData all or not at all."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from scnode._errors import ScnodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

_FRAMES = ("obs", "var")
_MAPPINGS = ("obsm", "obsp", "layers", "uns")


@contextmanager
def written(adata: AnnData, *, copy: bool) -> Iterator[AnnData]:
    """The object to write to, `adata` or a copy; an exception, Ctrl-C among them, leaves it as it was."""
    if copy and adata.isbacked:
        raise ScnodeError("adata is backed by a file. Leave copy= out, or pass adata.to_memory().")
    result = adata.copy() if copy else adata
    if result.is_view:
        # The first write would make a copy of the view, and what was kept of the view would be lost.
        result.uns = dict(result.uns)
    kept = {name: getattr(result, name).copy(deep=False) for name in _FRAMES}
    kept |= {name: dict(getattr(result, name)) for name in _MAPPINGS}
    try:
        yield result
    except BaseException:
        for name, before in kept.items():
            setattr(result, name, before)
        raise
