"""The fitted velocity over an embedding, as streamlines or as arrows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode.pl._cells import draw_cells, embedding, finish, new_axes
from scnode.pl._grid import GridField, on_grid

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure

_N_GRID = 42
_FAINTEST = 0.12


def velocity_embedding_stream(
    adata: AnnData,
    *,
    basis: str = "umap",
    color: str | None = None,
    key_added: str = DEFAULT,
    density: float = 1.0,
    linewidth: float = 1.3,
    arrow_color: str = "black",
    size: float | None = None,
    alpha: float = 0.5,
    legend_loc: str | None = "right margin",
    cmap: str | Colormap | None = None,
    palette: Any = None,
    ax: Axes | None = None,
    title: str | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    **kwargs: Any,
) -> Axes | Figure | SubFigure | None:
    r"""Streamlines of the fitted velocity over an embedding.

    Lines are drawn only where there are cells. Their opacity is the trust :math:`1/(1 + (\sigma/\|v\|)^2)`, with
    :math:`\sigma` the disagreement of the ensemble in ``obs["scnode_velocity_sd"]`` and :math:`v` the latent
    velocity: a line fades where the members do not agree. After :func:`scnode.tl.ood` it is :math:`1 - p` with
    :math:`p` the score in ``obs["scnode_ood"]``: a line fades where it should not be believed.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.velocity` with this `basis`.
    basis
        Embedding, ``"umap"`` for ``obsm["X_umap"]``.
    color
        `obs` column or gene that colours the cells.
    key_added
        Name of the run.
    density
        Closeness of the streamlines.
    linewidth
        Width at the 90 % quantile of the speed, in points; slower parts are thinner.
    arrow_color
        Colour of the lines where trust is full.
    size, alpha, legend_loc, cmap, palette
        Of the cells, as in :func:`scanpy.pl.embedding`.
    ax
        Axes to draw on.
    title
        Title of the axes.
    show
        Whether to open a window; ``False`` returns the axes.
    return_fig
        Whether to return the figure.
    **kwargs
        Passed to :meth:`matplotlib.axes.Axes.streamplot`.

    Returns
    -------
    Axes, Figure or None
        The axes with ``show=False``, the figure with `return_fig`.

    Raises
    ------
    ScnodeError
        The basis, the colour, or the velocity in this basis is missing.
    """
    field = _field(adata, basis, key_added, n_grid=_N_GRID)
    ax = new_axes(ax)
    draw_cells(
        adata, basis, color, ax, size=size, alpha=alpha, legend_loc=legend_loc, cmap=cmap, palette=palette, title=""
    )
    limits = ax.get_xlim(), ax.get_ylim()
    speed = np.linalg.norm(field.velocity, axis=-1)
    width = linewidth * np.clip(np.nan_to_num(speed / np.nanquantile(speed, 0.9)), 0.25, 1.2)
    options = {"density": 1.6 * density, "arrowsize": 1.1, "zorder": 3, "maxlength": 8.0, "minlength": 0.05} | kwargs
    ax.streamplot(
        field.x,
        field.y,
        np.ma.masked_invalid(field.velocity[..., 0]),
        np.ma.masked_invalid(field.velocity[..., 1]),
        color=np.nan_to_num(field.trust),
        cmap=_fading(arrow_color),
        norm=_unit_norm(),
        linewidth=width,
        **options,
    )
    ax.set(xlim=limits[0], ylim=limits[1])
    return finish(ax, title=title, show=show, return_fig=return_fig)


def velocity_embedding_grid(
    adata: AnnData,
    *,
    basis: str = "umap",
    color: str | None = None,
    key_added: str = DEFAULT,
    density: float = 1.0,
    arrow_size: float = 1.0,
    arrow_color: str = "black",
    size: float | None = None,
    alpha: float = 0.5,
    legend_loc: str | None = "right margin",
    cmap: str | Colormap | None = None,
    palette: Any = None,
    ax: Axes | None = None,
    title: str | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    **kwargs: Any,
) -> Axes | Figure | SubFigure | None:
    """Arrows of the fitted velocity on a grid over an embedding.

    Arrows stand only where there are cells, and fade as :func:`velocity_embedding_stream` does.

    Parameters
    ----------
    adata, basis, color, key_added
        As in :func:`velocity_embedding_stream`.
    density
        Closeness of the arrows.
    arrow_size
        Factor on the length of the arrows; at 1 the 95 % quantile spans one grid step.
    arrow_color, size, alpha, legend_loc, cmap, palette, ax, title, show, return_fig
        As in :func:`velocity_embedding_stream`.
    **kwargs
        Passed to :meth:`matplotlib.axes.Axes.quiver`.

    Returns
    -------
    Axes, Figure or None
        The axes with ``show=False``, the figure with `return_fig`.

    Raises
    ------
    ScnodeError
        The basis, the colour, or the velocity in this basis is missing.
    """
    field = _field(adata, basis, key_added, n_grid=max(5, round(0.8 * _N_GRID * density)))
    ax = new_axes(ax)
    draw_cells(
        adata, basis, color, ax, size=size, alpha=alpha, legend_loc=legend_loc, cmap=cmap, palette=palette, title=""
    )
    limits = ax.get_xlim(), ax.get_ylim()
    kept = np.isfinite(field.trust)
    arrows = field.velocity[kept]
    longest = np.quantile(np.linalg.norm(arrows, axis=1), 0.95)
    step = field.x[1] - field.x[0]
    x, y = np.meshgrid(field.x, field.y)
    across, up = arrows.T * arrow_size * step / longest
    options: dict[str, Any] = {
        "angles": "xy",
        "scale_units": "xy",
        "scale": 1.0,
        "width": 0.003,
        "headwidth": 4.5,
        "zorder": 3,
    }
    options["color"] = _fading(arrow_color)(field.trust[kept])
    ax.quiver(x[kept], y[kept], across, up, **(options | kwargs))
    ax.set(xlim=limits[0], ylim=limits[1])
    return finish(ax, title=title, show=show, return_fig=return_fig)


def _field(adata: AnnData, basis: str, key_added: str, *, n_grid: int) -> GridField:
    keys, name = Keys(key_added), basis.removeprefix("X_")
    position = embedding(adata, basis)
    stored = keys.velocity_in(name)
    if stored not in adata.obsm:
        raise ScnodeError(f"adata.obsm[{stored!r}] not found. Run scnode.tl.velocity(adata, basis={name!r}) first.")
    velocity = np.asarray(adata.obsm[stored], dtype=np.float64)[:, :2]
    return on_grid(position, velocity, _trust(adata, keys), n_grid=n_grid)


def _trust(adata: AnnData, keys: Keys) -> np.ndarray:
    """Belief in the velocity of each cell, in [0, 1]."""
    if keys.ood in adata.obs:
        return 1 - adata.obs[keys.ood].to_numpy(dtype=float)
    speed = np.linalg.norm(np.asarray(adata.obsm[keys.velocity], dtype=float), axis=1)
    disagreement = adata.obs[keys.velocity_sd].to_numpy(dtype=float) / np.maximum(speed, np.finfo(float).tiny)
    return 1 / (1 + disagreement**2)


def _fading(color: str) -> Colormap:
    """From nearly transparent to opaque in one colour."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    rgb = to_rgb(color)
    return LinearSegmentedColormap.from_list("fading", [(*rgb, _FAINTEST), (*rgb, 1.0)])


def _unit_norm() -> Any:
    from matplotlib.colors import Normalize

    return Normalize(0.0, 1.0)
