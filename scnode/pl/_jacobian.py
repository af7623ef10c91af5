"""The gene level of the Jacobian as a heatmap, or as a map over an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._validation import near
from scnode.pl._cells import draw_cells, finish, new_axes

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure


def jacobian(
    adata: AnnData,
    *,
    group: tuple[str, str] | None = None,
    pair: tuple[str, str] | None = None,
    basis: str = "umap",
    key_added: str = DEFAULT,
    size: float | None = None,
    cmap: str | Colormap = "RdBu_r",
    ax: Axes | None = None,
    title: str | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    **kwargs: Any,
) -> Axes | Figure | SubFigure | None:
    r"""Mean response :math:`\partial\dot x_e/\partial x_r` of effectors to regulators, or that of one pair by cell.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.jacobian` with `regulators` and `effectors`.
    group
        `obs` column and group whose cells are averaged, such as ``("clusters", "Beta")``; all cells by default.
    pair
        Regulator and effector to draw over the embedding instead.
    basis
        Embedding, ``"umap"`` for ``obsm["X_umap"]``.
    key_added
        Name of the run.
    size, cmap
        Of the cells, as in :func:`scanpy.pl.embedding`; `cmap` of the heatmap too, with 0 in its middle.
    ax
        Axes to draw on.
    title
        Title of the axes, by default what is drawn.
    show
        Whether to open a window; ``False`` returns the axes.
    return_fig
        Whether to return the figure.
    **kwargs
        Passed to :meth:`matplotlib.axes.Axes.imshow`, or :func:`scanpy.pl.embedding` with `pair`.

    Returns
    -------
    Axes, Figure or None
        The axes with ``show=False``, the figure with `return_fig`.

    Raises
    ------
    ScnodeError
        No gene-level Jacobian is stored, an unknown gene, column or group, or the basis is missing.
    """
    from scnode.get import jacobian as table_of

    table = table_of(adata, groupby=None if group is None else group[0], key_added=key_added)
    ax = new_axes(ax)
    if pair is not None:
        name = f"d rate of {pair[1]} / d {pair[0]}"
        ground = _of_pair(adata, pair, name, Keys(key_added))
        limit = float(ground.obs[name].abs().quantile(0.98)) or 1.0
        draw_cells(ground, basis, name, ax, **({"vmin": -limit, "vmax": limit, "size": size, "cmap": cmap} | kwargs))
    else:
        name = "mean over all cells"
        if group is not None:
            table, name = _of_group(table, group), f"{group[0]}: {group[1]}"
        _draw_table(table, ax, cmap, kwargs)
    return finish(ax, title=name if title is None else title, show=show, return_fig=return_fig)


def _of_group(table: pd.DataFrame, group: tuple[str, str]) -> pd.DataFrame:
    chosen = table[table["group"] == str(group[1])]
    if not len(chosen):
        raise ScnodeError(f"{group[1]!r} is no group of adata.obs[{group[0]!r}]. {near(group[1], set(table['group']))}")
    return chosen


def _draw_table(table: pd.DataFrame, ax: Axes, cmap: str | Colormap, options: dict[str, Any]) -> None:
    wide = table.pivot(index="effector", columns="regulator", values="mean")
    wide = wide.loc[table["effector"].unique(), table["regulator"].unique()]
    limit = float(np.abs(wide.to_numpy()).max()) or 1.0
    image = ax.imshow(wide, **({"cmap": cmap, "vmin": -limit, "vmax": limit, "aspect": "auto"} | options))
    ax.set_xticks(range(wide.shape[1]), wide.columns, rotation=90)
    ax.set_yticks(range(wide.shape[0]), wide.index)
    ax.set(xlabel="regulator", ylabel="effector")
    ax.figure.colorbar(image, ax=ax, shrink=0.7, label="per unit of the clock")


def _of_pair(adata: AnnData, pair: tuple[str, str], name: str, keys: Keys) -> AnnData:
    """The response of one pair by cell, with the embeddings."""
    from anndata import AnnData as New

    stored = adata.uns[keys.uns]["jacobian"]
    place = []
    for gene, side in zip(pair, ("regulators", "effectors"), strict=True):
        known = [str(g) for g in stored[side]]
        if gene not in known:
            raise ScnodeError(f"{gene!r} is none of the {side}. {near(gene, known)} Pass pair=(regulator, effector).")
        place.append(known.index(gene))
    values = np.asarray(stored["values"], dtype=float)[:, place[1], place[0]]
    obsm = {key: np.asarray(value) for key, value in adata.obsm.items() if key[:2] == "X_"}
    return New(obs=adata.obs[[]].assign(**{name: values}), obsm=obsm)
