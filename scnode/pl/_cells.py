"""Cells in an embedding, as the ground of every plot, and the end that all plots share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._validation import near
from scnode.pl._colors import category_colors

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


def embedding(adata: AnnData, basis: str) -> np.ndarray:
    """The first two coordinates of an embedding."""
    name = basis.removeprefix("X_")
    if f"X_{name}" not in adata.obsm:
        known = [key.removeprefix("X_") for key in adata.obsm if key.startswith("X_")]
        raise ScnodeError(
            f"basis={basis!r}: adata.obsm['X_{name}'] not found. {near(name, known)} "
            f"Pass basis=, or run scanpy.tl.{name}(adata)."
        )
    values = np.asarray(adata.obsm[f"X_{name}"], dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ScnodeError(f"adata.obsm['X_{name}'] has shape {values.shape}; a plot needs two columns. Pass basis=.")
    return values[:, :2]


def draw_cells(adata: AnnData, basis: str, color: str | None, ax: Axes, **options: Any) -> None:
    """Scatter through scanpy, on an AnnData of its own so that no colours are written back."""
    import scanpy as sc
    from anndata import AnnData as New

    name = basis.removeprefix("X_")
    ground = New(obs=adata.obs[[]].copy(), obsm={f"X_{name}": embedding(adata, basis)})
    if color is not None:
        values = ground.obs[color] = _values(adata, color)
        if getattr(values, "dtype", None) == "category" and options.get("palette") is None:
            names = [str(name) for name in values.cat.categories]
            ground.uns[f"{color}_colors"] = category_colors(adata, color, names)
    sc.pl.embedding(ground, basis=name, color=color, ax=ax, show=False, **options)
    ax.set(xlabel=f"{name.upper()}1", ylabel=f"{name.upper()}2")
    for points in ax.collections:
        points.set_rasterized(True)


def _values(adata: AnnData, color: str) -> Any:
    if color in adata.obs:
        values = adata.obs[color]
        return values.astype("category") if values.dtype.kind in "OUb" else values
    if color in adata.var_names:
        column = adata[:, color].X
        return np.asarray(column.toarray() if hasattr(column, "toarray") else column, dtype=float).ravel()
    raise ScnodeError(
        f"color={color!r} is neither in adata.obs nor in adata.var_names. "
        f"{near(color, [*adata.obs.columns, *adata.var_names])}"
    )


def new_axes(ax: Axes | None) -> Axes:
    """The axes given, or new ones."""
    import matplotlib.pyplot as plt

    return ax if ax is not None else plt.subplots(figsize=(6, 5), constrained_layout=True)[1]


def finish(ax: Axes, *, title: str | None, show: bool | None, return_fig: bool) -> Axes | Figure | SubFigure | None:
    """Title, then the figure, the axes, or a window."""
    import matplotlib.pyplot as plt
    import scanpy as sc

    keep_text()
    if title is not None:
        ax.set_title(title)
    if return_fig:
        return ax.figure
    if show or (show is None and sc.settings.autoshow):
        plt.show()
        return None
    return ax


def keep_text() -> None:
    """Leave text as text in PDF and SVG files, where the user has not chosen otherwise."""
    import matplotlib as mpl

    text: dict[Any, Any] = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none"}
    for name, value in text.items():
        if mpl.rcParams[name] == mpl.rcParamsDefault[name]:
            mpl.rcParams[name] = value
