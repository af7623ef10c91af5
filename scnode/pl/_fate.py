"""Fate probabilities by group and over an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._validation import near
from scnode.model import stored_result
from scnode.pl._cells import draw_cells, finish
from scnode.pl._colors import category_colors

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure

_UNNAMED = "unassigned"
_BY = "scnode.tl.fate(adata, groupby=, groups=)"


def fate(
    adata: AnnData,
    *,
    groupby: str | None = None,
    color: str | None = None,
    basis: str = "umap",
    key_added: str = DEFAULT,
    size: float | None = None,
    cmap: str | Colormap = "viridis",
    palette: Sequence[Any] | None = None,
    ax: Sequence[Axes] | None = None,
    title: str | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    **kwargs: Any,
) -> Sequence[Axes] | Figure | SubFigure | None:
    """Mean fate probabilities of each group as stacked bars, beside the cells coloured by one fate.

    Bars are ordered by the mean clock of their cells, the earliest on top.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fate`.
    groupby
        `obs` column whose groups get a bar, by default the one that the fates were taken from; cells without a group
        are drawn as `unassigned`.
    color
        Fate that colours the cells, the first by default.
    basis
        Embedding, ``"umap"`` for ``obsm["X_umap"]``.
    key_added
        Name of the run.
    size, cmap
        Of the cells, as in :func:`scanpy.pl.embedding`.
    palette
        Colour of each fate; by default that of its group in ``uns["<groupby>_colors"]``, else of a palette that
        colour-blind readers can tell apart.
    ax
        Two axes to draw on, of the bars and of the cells.
    title
        Title of the bars.
    show
        Whether to open a window; ``False`` returns the axes.
    return_fig
        Whether to return the figure.
    **kwargs
        Passed to :meth:`matplotlib.axes.Axes.barh`.

    Returns
    -------
    Sequence of Axes, Figure or None
        Both axes with ``show=False``, the figure with `return_fig`.

    Raises
    ------
    ScnodeError
        No fates are stored, or the column, the fate or the basis is missing.
    """
    import matplotlib.pyplot as plt

    keys = Keys(key_added)
    table, source = _stored(adata, keys)
    chosen = str(table.columns[0]) if color is None else color
    if chosen not in table:
        raise ScnodeError(f"color={chosen!r} is no fate of obsm[{keys.fate!r}]. {near(chosen, table)} Pass color=.")
    labels = _labels(adata, source if groupby is None else groupby)
    bars, cells = plt.subplots(1, 2, figsize=(11, 4.5), constrained_layout=True)[1] if ax is None else ax
    means = table.groupby(labels).mean()
    # Cells that were mapped to a model alone have no clock.
    if keys.time in adata.obs:
        means = means.loc[adata.obs[keys.time].groupby(labels).mean().sort_values(ascending=False).index]
    colors = category_colors(adata, source, [str(c) for c in table.columns], palette=palette)
    left = np.zeros(len(means))
    for name, shade in zip(table.columns, colors, strict=True):
        bars.barh(means.index, means[name], left=left, **({"color": shade, "label": name} | kwargs))
        left += means[name].to_numpy()
    bars.set(xlim=(0, 1), xlabel="mean fate probability")
    bars.spines[["top", "right"]].set_visible(False)
    bars.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=min(len(table.columns), 4))
    _draw_map(adata, basis, table[chosen], cells, cmap=cmap, size=size)
    drawn = finish(bars, title=title, show=show, return_fig=return_fig)
    if drawn is None:
        return None
    return bars.figure if return_fig else (bars, cells)


def _stored(adata: AnnData, keys: Keys) -> tuple[pd.DataFrame, str]:
    """The table of fates and the column that its groups are of."""
    with stored_result(adata, keys.uns, "fate", by=_BY) as record:
        if record is None or keys.fate not in adata.obsm:
            raise ScnodeError(f"adata.obsm[{keys.fate!r}] not found. Run {_BY} first.")
        return adata.obsm[keys.fate], str(record["groupby"])


def _labels(adata: AnnData, groupby: str) -> np.ndarray:
    if groupby not in adata.obs:
        raise ScnodeError(f"adata.obs[{groupby!r}] not found. {near(groupby, adata.obs.columns)} Pass groupby=.")
    column = adata.obs[groupby]
    return np.where(column.isna(), _UNNAMED, column.astype(str)).astype(str)


def _draw_map(adata: AnnData, basis: str, values: pd.Series, ax: Axes, **options: Any) -> None:
    """Cells in the embedding by the probability of one fate, from 0 to 1."""
    from anndata import AnnData as New

    name = f"{values.name} probability"
    ground = New(obs=values.to_frame(name), obsm={k: np.asarray(v) for k, v in adata.obsm.items() if k[:2] == "X_"})
    draw_cells(ground, basis, name, ax, vmin=0, vmax=1, **options)
