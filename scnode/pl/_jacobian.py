"""The gene level of the Jacobian as a heatmap, or as a map over an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._validation import near
from scnode.model import stored_result
from scnode.pl._cells import draw_cells, finish, new_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure

_BY = "scnode.tl.jacobian(adata, regulators=[...], effectors=[...])"


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
    with stored_result(adata, Keys(key_added).uns, "jacobian", by=_BY) as stored:
        if stored is None:
            raise ScnodeError(f"No gene-level Jacobian. Run {_BY}.")
        genes = {side: [str(g) for g in stored[side]] for side in ("regulators", "effectors")}
        values = np.asarray(stored["values"], dtype=float)
        values = values.reshape(adata.n_obs, len(genes["effectors"]), len(genes["regulators"]))
    ax = new_axes(ax)
    if pair is None:
        name = "mean over all cells" if group is None else f"{group[0]}: {group[1]}"
        _draw_mean(values[_rows(adata, group)].mean(0), genes, ax, {"cmap": cmap} | kwargs)
    else:
        name = f"d rate of {pair[1]} / d {pair[0]}"
        shown = _of_pair(values, genes, pair)
        limit = float(np.quantile(np.abs(shown), 0.98)) or 1.0
        options = {"vmin": -limit, "vmax": limit, "size": size, "cmap": cmap} | kwargs
        draw_cells(_ground(adata, name, shown), basis, name, ax, **options)
    return finish(ax, title=name if title is None else title, show=show, return_fig=return_fig)


def _rows(adata: AnnData, group: tuple[str, str] | None) -> np.ndarray:
    """Mask of the cells of a group."""
    if group is None:
        return np.ones(adata.n_obs, dtype=bool)
    key, name = group
    if key not in adata.obs:
        raise ScnodeError(f"adata.obs[{key!r}] not found. {near(key, adata.obs.columns)} Pass group=(column, group).")
    labels = adata.obs[key].astype(str).to_numpy()
    if str(name) not in labels:
        raise ScnodeError(f"{name!r} is no group of adata.obs[{key!r}]. {near(name, sorted(set(labels)))}")
    return labels == str(name)


def _draw_mean(values: np.ndarray, genes: dict[str, list[str]], ax: Axes, options: dict[str, Any]) -> None:
    limit = float(np.abs(values).max()) or 1.0
    colours: dict[str, Any] = {"vmin": -limit, "vmax": limit, "aspect": "auto"} | options
    image = ax.imshow(values, **colours)
    ax.set_xticks(range(values.shape[1]), genes["regulators"], rotation=90)
    ax.set_yticks(range(values.shape[0]), genes["effectors"])
    ax.set(xlabel="regulator", ylabel="effector")
    ax.figure.colorbar(image, ax=ax, shrink=0.7, label="per unit of the clock")


def _of_pair(values: np.ndarray, genes: dict[str, list[str]], pair: tuple[str, str]) -> np.ndarray:
    """Response of one pair by cell."""
    for gene, (side, known) in zip(pair, genes.items(), strict=True):
        if gene not in known:
            raise ScnodeError(f"{gene!r} is none of the {side}. {near(gene, known)} Pass pair=(regulator, effector).")
    return values[:, genes["effectors"].index(pair[1]), genes["regulators"].index(pair[0])]


def _ground(adata: AnnData, name: str, values: np.ndarray) -> AnnData:
    from anndata import AnnData as New

    obsm = {key: np.asarray(value) for key, value in adata.obsm.items() if key[:2] == "X_"}
    return New(obs=adata.obs[[]].assign(**{name: values}), obsm=obsm)
