"""Colours of categories: the user's, those of the data, or ones that colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scnode._errors import ScnodeError

if TYPE_CHECKING:
    from anndata import AnnData

SAFE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
"""Okabe and Ito's, with grey in the place of black, which arrows and text have."""


def category_colors(
    adata: AnnData, key: str, names: Sequence[str], *, palette: Sequence[Any] | None = None
) -> list[Any]:
    """Colours of some categories of an `obs` column: of `palette`, else of ``uns["<key>_colors"]``, else safe ones."""
    if palette is not None:
        if len(palette) < len(names):
            raise ScnodeError(f"palette= has {len(palette)} colours for {len(names)} groups. Pass one for each.")
        return list(palette)[: len(names)]
    column = adata.obs.get(key)
    if column is None or column.dtype != "category":
        return _default(len(names))
    groups = [str(name) for name in column.cat.categories]
    # A group keeps its colour where only some of them are drawn.
    for colors in (adata.uns.get(f"{key}_colors", ()), _default(len(groups))):
        known = dict(zip(groups, colors, strict=False))
        if set(names) <= set(known):
            return [known[name] for name in names]
    return _default(len(names))


def _default(n: int) -> list[Any]:
    """As many colours as asked for; beyond eight no palette is safe, and scanpy's are taken."""
    from scanpy.plotting.palettes import default_20, default_102

    if n <= len(SAFE):
        return list(SAFE[:n])
    longest: list[Any] = list(default_20 if n <= len(default_20) else default_102)
    return [longest[i % len(longest)] for i in range(n)]
