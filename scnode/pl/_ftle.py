"""Finite-time Lyapunov exponents over an embedding, with their ridges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode.model import stored_result
from scnode.pl._cells import draw_cells, embedding, finish, new_axes
from scnode.pl._ridges import ridges

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure

_BY = "scnode.tl.ftle(adata)"


def ftle(
    adata: AnnData,
    *,
    basis: str = "umap",
    key_added: str = DEFAULT,
    show_ridges: bool = True,
    ridge_color: str = "black",
    size: float | None = None,
    cmap: str | Colormap = "RdBu_r",
    ax: Axes | None = None,
    title: str | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    **kwargs: Any,
) -> Axes | Figure | SubFigure | None:
    """Cells by their exponent, red where neighbours part and blue where they draw together, and its ridges as dots.

    A ridge is a line in the embedding across which the exponent, averaged over near cells, is highest, where it is
    also among the upper fifth. Of the flow forward in time it divides the fates.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.ftle`.
    basis
        Embedding, ``"umap"`` for ``obsm["X_umap"]``.
    key_added
        Name of the run.
    show_ridges
        Whether to draw them.
    ridge_color
        Colour of the ridges.
    size, cmap
        Of the cells, as in :func:`scanpy.pl.embedding`.
    ax
        Axes to draw on.
    title
        Title of the axes, by default direction and horizon.
    show
        Whether to open a window; ``False`` returns the axes.
    return_fig
        Whether to return the figure.
    **kwargs
        Passed to :meth:`matplotlib.axes.Axes.scatter` for the ridges.

    Returns
    -------
    Axes, Figure or None
        The axes with ``show=False``, the figure with `return_fig`.

    Raises
    ------
    ScnodeError
        No exponents are stored, or the basis is missing.

    References
    ----------
    :cite:p:`Shadden2005`
    """
    keys = Keys(key_added)
    with stored_result(adata, keys.uns, "ftle", by=_BY) as record:
        if record is None or keys.ftle not in adata.obs:
            raise ScnodeError(f"adata.obs[{keys.ftle!r}] not found. Run {_BY} first.")
        across = " across the flow" if record.get("across") else ""
        default = f"FTLE {record['direction']}{across}, horizon {float(record['horizon']):g}"
    position, values = embedding(adata, basis), adata.obs[keys.ftle].to_numpy(dtype=float)
    ax = new_axes(ax)
    # One far cell must not bleach all the others.
    limit = float(np.nanquantile(np.abs(values), 0.98)) or 1.0
    draw_cells(adata, basis, keys.ftle, ax, size=size, cmap=cmap, vmin=-limit, vmax=limit, title="")
    if show_ridges:
        points = ridges(position, values)
        options: dict[str, Any] = {"s": 5, "c": ridge_color, "linewidths": 0, "zorder": 3} | kwargs
        ax.scatter(points[:, 0], points[:, 1], **options)
    return finish(ax, title=default if title is None else title, show=show, return_fig=return_fig)
