"""Contributions of genes to a fate over time as a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._validation import near
from scnode.model import stored_result
from scnode.pl._cells import finish, new_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure

_BY = "scnode.tl.attribution(adata, groupby=, groups=)"


def attribution(
    adata: AnnData,
    *,
    fate: str | None = None,
    n_genes: int = 20,
    key_added: str = DEFAULT,
    cmap: str | Colormap = "RdBu_r",
    ax: Axes | None = None,
    title: str | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    **kwargs: Any,
) -> Axes | Figure | SubFigure | None:
    """Which genes moved the cells towards a fate or away from it, and when.

    Genes are those of the largest contributions, integrated over time without their signs, and stand in the order of
    the time about which these lie, the earliest on top.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.attribution`.
    fate
        Fate to draw, the first by default.
    n_genes
        How many genes are drawn.
    key_added
        Name of the run.
    cmap
        Colours, with 0 in their middle.
    ax
        Axes to draw on.
    title
        Title of the axes, by default the fate.
    show
        Whether to open a window; ``False`` returns the axes.
    return_fig
        Whether to return the figure.
    **kwargs
        Passed to :meth:`matplotlib.axes.Axes.imshow`.

    Returns
    -------
    Axes, Figure or None
        The axes with ``show=False``, the figure with `return_fig`.

    Raises
    ------
    ScnodeError
        No attribution is stored, an unknown fate, or no gene to draw.
    """
    if n_genes < 1:
        raise ScnodeError(f"n_genes={n_genes} draws nothing. Pass a positive number.")
    with stored_result(adata, Keys(key_added).uns, "attribution", by=_BY) as stored:
        if stored is None:
            raise ScnodeError(f"No attribution is stored. Run {_BY} first.")
        fates = [str(name) for name in stored["fates"]]
        chosen = fates[0] if fate is None else fate
        if chosen not in fates:
            raise ScnodeError(f"{fate!r} is no fate of the attribution. {near(chosen, fates)} Pass fate=.")
        times, every = (np.asarray(stored[part], dtype=float) for part in ("t", "contribution"))
        every = every[fates.index(chosen)]
        size = np.abs(every)
        rows = np.argsort(-size.sum(1), kind="stable")[:n_genes]
        about = size[rows] @ times / np.maximum(size[rows].sum(1), np.finfo(float).tiny)
        rows = rows[np.argsort(about, kind="stable")]
        values, shown = every[rows], np.asarray(stored["genes"], dtype=str)[rows]
        # Times stand for intervals around them, so that the first and the last lie within the axes.
        half = (times[1] - times[0]) / 2
    limit = float(np.abs(values).max()) or 1.0
    options: dict[str, Any] = {"vmin": -limit, "vmax": limit, "aspect": "auto", "cmap": cmap} | kwargs
    ax = new_axes(ax)
    extent = (times[0] - half, times[-1] + half, len(shown) - 0.5, -0.5)
    image = ax.imshow(values, extent=extent, interpolation="nearest", **options)
    ax.set_yticks(range(len(shown)), shown)
    ax.set(xlabel="time since the start")
    ax.figure.colorbar(image, ax=ax, shrink=0.7, label="log-odds per unit of the clock")
    return finish(ax, title=chosen if title is None else title, show=show, return_fig=return_fig)
