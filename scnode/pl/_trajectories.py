"""Trajectories of the fitted field over an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode.data import Support, evenly
from scnode.model import stored_result
from scnode.pl._cells import draw_cells, embedding, finish, new_axes
from scnode.pl._place import place

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure

_FADED = 0.15
_BELIEVED = 0.5
_BY = "scnode.tl.trajectories(adata)"


def trajectories(
    adata: AnnData,
    *,
    basis: str = "umap",
    color: str | None = None,
    key_added: str = DEFAULT,
    n_trajectories: int = 60,
    linewidth: float = 1.2,
    size: float | None = None,
    alpha: float = 0.35,
    legend_loc: str | None = "right margin",
    cmap: str | Colormap = "plasma",
    palette: Any = None,
    ax: Axes | None = None,
    title: str | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    **kwargs: Any,
) -> Axes | Figure | SubFigure | None:
    """Trajectories over an embedding, coloured by time; circles are starts and crosses are ends.

    A state is drawn at the weighted mean position of its 15 nearest cells in the latent space. Where it is farther
    from them than 99 % of the cells are from theirs, the line fades: the embedding has no place for such a state. After
    :func:`scnode.tl.ood` it also fades with the probability that the state should not be believed, and ends of
    trajectories over one half get no cross.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.trajectories`.
    basis
        Embedding, ``"umap"`` for ``obsm["X_umap"]``.
    color
        `obs` column or gene that colours the cells.
    key_added
        Name of the run.
    n_trajectories
        How many to draw, evenly taken from all starts and samples.
    linewidth
        Of the trajectories, in points.
    size, alpha, legend_loc, palette
        Of the cells, as in :func:`scanpy.pl.embedding`.
    cmap
        Colours of time.
    ax
        Axes to draw on.
    title
        Title of the axes.
    show
        Whether to open a window; ``False`` returns the axes.
    return_fig
        Whether to return the figure.
    **kwargs
        Passed to :class:`matplotlib.collections.LineCollection`.

    Returns
    -------
    Axes, Figure or None
        The axes with ``show=False``, the figure with `return_fig`.

    Raises
    ------
    ScnodeError
        No trajectories are stored, or the basis or the colour is missing.
    """
    from matplotlib.collections import LineCollection

    keys = Keys(key_added)
    t, paths, belief = placed_paths(adata, embedding(adata, basis), keys, n_trajectories)
    ax = new_axes(ax)
    draw_cells(adata, basis, color, ax, size=size, alpha=alpha, legend_loc=legend_loc, palette=palette, title="")
    limits = ax.get_xlim(), ax.get_ylim()
    segments = np.stack([paths[:, :-1], paths[:, 1:]], axis=2).reshape(-1, 2, 2)
    options: dict[str, Any] = {"linewidths": linewidth, "capstyle": "round", "zorder": 3, "cmap": cmap}
    options["array"] = np.tile((t[:-1] + t[1:]) / 2, len(paths))
    options["alpha"] = _FADED + (1 - _FADED) * belief[:, 1:].ravel()
    lines = LineCollection(list(segments), **(options | kwargs))
    lines.set_clim(t[0], t[-1])
    ax.add_collection(lines)
    starts, ends = paths[:, 0], paths[belief[:, -1] >= _BELIEVED, -1]
    ax.scatter(starts[:, 0], starts[:, 1], s=12, c="white", edgecolors="black", linewidths=0.7, zorder=4)
    ax.scatter(ends[:, 0], ends[:, 1], s=22, c="black", marker="X", linewidths=0, zorder=4)
    ax.set(xlim=limits[0], ylim=limits[1])
    bar = ax.figure.colorbar(_time_scale(t, cmap), ax=ax, shrink=0.5, pad=0.02)
    bar.set_label("time (clock)")
    return finish(ax, title=title, show=show, return_fig=return_fig)


def placed_paths(
    adata: AnnData, position: np.ndarray, keys: Keys, n_trajectories: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of stored trajectories the times, positions (trajectory, step, 2), and belief in each state, 0 off the cells."""
    with stored_result(adata, keys.uns, "trajectories", by=_BY) as stored:
        if stored is None:
            raise ScnodeError(f"adata.uns[{keys.uns!r}] holds no trajectories. Run {_BY} first.")
        latent = np.asarray(adata.obsm[keys.latent], dtype=float)
        t = np.asarray(stored["t"], dtype=float)
        states = np.asarray(stored["latent"], dtype=float).reshape(-1, len(t), latent.shape[1])
        if len(t) < 2 or not len(states):
            raise ValueError("no steps")
        chosen = evenly(len(states), n_trajectories)
        states = states[chosen]
        doubt = np.asarray(stored["ood"]).reshape(-1, len(t))[chosen] if "ood" in stored else 0.0
        placed, near = place(Support(latent), position, states)
        return t, placed, near * (1 - doubt)


def _time_scale(t: np.ndarray, cmap: str | Colormap) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(t[0], t[-1]), cmap)
