"""A perturbation beside its control: fates, the difference it makes to the field, trajectories, expression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._validation import near
from scnode.data import Support, evenly
from scnode.model import stored_model, stored_result
from scnode.pl._cells import draw_cells, embedding, finish, new_axes
from scnode.pl._colors import SAFE, category_colors
from scnode.pl._grid import on_grid
from scnode.pl._place import place

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_KINDS = ("fates", "field", "trajectories", "expression")
CONTROL, PERTURBED = SAFE[0], SAFE[5]
_N_GENES = 5
_N_GRID = 34
_FADED = 0.15
_BY = "scnode.tl.perturb(adata, genes)"
_NUMBERS = ("log_fold_change", "ci_low", "ci_high", "qvalue", "ood")


def perturbation(
    adata: AnnData,
    name: str,
    *,
    kind: Literal["fates", "field", "trajectories", "expression"] = "fates",
    genes: Sequence[str] | None = None,
    basis: str = "umap",
    color: str | None = None,
    key_added: str = DEFAULT,
    n_trajectories: int = 40,
    size: float | None = None,
    alpha: float = 0.35,
    legend_loc: str | None = "right margin",
    palette: Sequence[Any] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    **kwargs: Any,
) -> Axes | Figure | SubFigure | None:
    """What a perturbation does to cells.

    ``"fates"``: log2 fold change of every fate with its interval and q value; a bar is the paler the more of its ends
    should not be believed. ``"field"``: arrows of what holding the genes does to the velocity of the cells around, over
    the embedding, where each arrow leads from the place of a state to that of the state moved along the difference.
    ``"trajectories"``: both arms from the same starts over the embedding, paler where a state lies off the cells, with
    crosses at the ends. ``"expression"``: mean expression over time, dashed without and solid with the perturbation,
    the band one standard deviation of the difference over the ensemble to both sides.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.perturb`.
    name
        Name of the perturbation.
    kind
        What to draw.
    genes
        Genes of ``"expression"``, by default those held and the five of the others that respond most.
    basis
        Embedding, ``"umap"`` for ``obsm["X_umap"]``.
    color
        `obs` column or gene that colours the cells of ``"field"`` and ``"trajectories"``.
    key_added
        Name of the run.
    n_trajectories
        How many starts to draw, evenly taken.
    size, alpha, legend_loc
        Of the cells, as in :func:`scanpy.pl.embedding`.
    palette
        Colours of fates (by default those of their groups in ``uns["<groupby>_colors"]``), of genes, or of the groups
        of `color`.
    ax
        Axes to draw on.
    title
        Title of the axes, by default the name.
    show
        Whether to open a window; ``False`` returns the axes.
    return_fig
        Whether to return the figure.
    **kwargs
        Passed to :meth:`matplotlib.axes.Axes.barh`, :meth:`matplotlib.axes.Axes.quiver`,
        :class:`matplotlib.collections.LineCollection` or :meth:`matplotlib.axes.Axes.plot`.

    Returns
    -------
    Axes, Figure or None
        The axes with ``show=False``, the figure with `return_fig`.

    Raises
    ------
    ScnodeError
        No perturbation of that name, an unknown kind, no fates, a gene that the model does not have, or the basis or
        the colour is missing.
    """
    if kind not in _KINDS:
        raise ScnodeError(f"kind={kind!r} is unknown. {near(kind, _KINDS)} Pass one of {list(_KINDS)}.")
    keys = Keys(key_added)
    record = stored_perturbation(adata, keys, name)
    if kind == "fates" and "fates" not in record:
        raise ScnodeError(f"Perturbation {name!r} has no fates. Run scnode.tl.perturb(..., groupby=, overwrite=True).")
    curves = _curves(adata, key_added, record, genes) if kind == "expression" else {}
    position = embedding(adata, basis) if kind in ("field", "trajectories") else np.zeros((0, 2))
    ax = new_axes(ax)
    if kind == "fates":
        _draw_fates(adata, record, palette, ax, kwargs)
    elif kind == "expression":
        _draw_expression(record, curves, palette, ax, kwargs)
    else:
        options: dict[str, Any] = {"size": size, "alpha": alpha, "legend_loc": legend_loc, "palette": palette}
        draw_cells(adata, basis, color, ax, title="", **options)
        limits = ax.get_xlim(), ax.get_ylim()
        latent = np.asarray(adata.obsm[keys.latent], dtype=float)
        if kind == "field":
            _draw_field(latent, np.asarray(adata.obsm[keys.difference(name)], dtype=float), position, ax, kwargs)
        else:
            _draw_trajectories(few_paths(record, n_trajectories), latent, position, ax, kwargs)
        ax.set(xlim=limits[0], ylim=limits[1])
    return finish(ax, title=name if title is None else title, show=show, return_fig=return_fig)


def stored_perturbation(adata: AnnData, keys: Keys, name: str) -> dict[str, Any]:
    """The record of a perturbation."""
    with stored_result(adata, keys.uns, "perturbations", by=_BY) as found:
        stored = found or {}
        if name not in stored:
            raise ScnodeError(f"No perturbation {name!r}. {near(name, stored)} Run {_BY} first.")
        return _checked(stored[name])


def _checked(record: dict[str, Any]) -> dict[str, Any]:
    """Its numbers, where they are numbers of like shapes."""
    n_starts, n_steps = len(record["path_start"]), len(record["path_t"])
    read = {"path_t": np.asarray(record["path_t"], dtype=float)}
    for arm in ("control", "perturbed"):
        paths = np.asarray(record[f"path_{arm}"], dtype=float)
        read[f"path_{arm}"] = paths.reshape(n_starts, -1, n_steps, paths.shape[-1])
    for part in ("control", "perturbed", "sd"):
        read[f"response_{part}"] = np.asarray(record[f"response_{part}"], dtype=float).reshape(n_steps, -1)
    if "fates" in record:
        read["fates"] = record["fates"].astype(dict.fromkeys(_NUMBERS, float) | {"fate": str})
    return {**record, "genes": [str(gene) for gene in record["genes"]], **read}


def _draw_fates(adata: AnnData, record: dict[str, Any], palette: Any, ax: Axes, kwargs: dict[str, Any]) -> None:
    from matplotlib.colors import to_rgba

    table = record["fates"].iloc[::-1]
    change = table["log_fold_change"].to_numpy()
    names = [str(fate) for fate in record["fates"]["fate"]]
    shades = _fate_colors(adata, str(record["groupby"]), names, palette)[::-1]
    belief = np.clip(1 - table["ood"].to_numpy(dtype=float), 0.2, 1)
    ends = table[["ci_low", "ci_high"]].to_numpy()
    options: dict[str, Any] = {
        "color": [to_rgba(shade, share) for shade, share in zip(shades, belief, strict=True)],
        "edgecolor": shades,
    }
    ax.barh(names[::-1], change, **(options | kwargs))
    # A bootstrap interval need not hold the value itself.
    error = np.maximum(np.stack([change - ends[:, 0], ends[:, 1] - change]), 0)
    ax.errorbar(change, np.arange(len(names)), xerr=error, fmt="none", ecolor="black", elinewidth=1.2, capsize=3)
    ax.axvline(0, color="black", linewidth=0.8)
    for row, (end, q) in enumerate(zip(np.maximum(ends[:, 1], np.maximum(change, 0)), table["qvalue"], strict=True)):
        ax.annotate(
            f"q = {q:.2g}", (end, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize="small"
        )
    ax.margins(x=0.18)
    ax.set(xlabel="log2 fold change of the fate")
    ax.spines[["top", "right"]].set_visible(False)


def _fate_colors(adata: AnnData, groupby: str, names: list[str], palette: Sequence[Any] | None) -> list[Any]:
    """Colours that the groups of the fates have among all groups of the column."""
    column = adata.obs.get(groupby)
    if palette is not None or column is None:
        return category_colors(adata, groupby, names, palette=palette)
    groups = [str(group) for group in column.astype("category").cat.categories]
    known = dict(zip(groups, category_colors(adata, groupby, groups), strict=True))
    return [known[name] for name in names]


def _draw_field(latent: np.ndarray, change: np.ndarray, position: np.ndarray, ax: Axes, kwargs: dict[str, Any]) -> None:
    support = Support(latent)
    known = np.isfinite(change).all(1)
    latent, change, ground = latent[known], change[known], position[known]
    length = np.linalg.norm(change, axis=1)
    # The usual arrow goes as far as the neighbours are: shorter ones reach none of them.
    step = support.usual / max(float(np.median(length)), np.finfo(float).tiny)
    moved = place(support, position, latent + change * np.minimum(step, 2 * support.usual / (length + 1e-12))[:, None])
    arrows = moved[0] - place(support, position, latent)[0]
    field = on_grid(ground, arrows, np.ones(len(ground)), n_grid=_N_GRID)
    kept = np.isfinite(field.trust)
    longest = max(float(np.quantile(np.linalg.norm(field.velocity[kept], axis=1), 0.95)), np.finfo(float).tiny)
    x, y = np.meshgrid(field.x, field.y)
    across, up = field.velocity[kept].T * 1.6 * (field.x[1] - field.x[0]) / longest
    options: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1.0, "width": 0.003, "headwidth": 4.5}
    ax.quiver(x[kept], y[kept], across, up, **(options | {"zorder": 3, "color": PERTURBED} | kwargs))


def few_paths(record: dict[str, Any], n_trajectories: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the members of both arms, (start, step, latent), of evenly taken starts."""
    few = evenly(len(record["path_start"]), n_trajectories)
    control, perturbed = (np.asarray(record[f"path_{arm}"], dtype=float) for arm in ("control", "perturbed"))
    return control[few].mean(1), perturbed[few].mean(1)


def _draw_trajectories(
    arms: tuple[np.ndarray, np.ndarray], latent: np.ndarray, position: np.ndarray, ax: Axes, kwargs: dict[str, Any]
) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    support, handles = Support(latent), []
    for arm, states, shade in zip(("control", "perturbed"), arms, (CONTROL, PERTURBED), strict=True):
        paths, close = place(support, position, states)
        segments = np.stack([paths[:, :-1], paths[:, 1:]], axis=2).reshape(-1, 2, 2)
        options: dict[str, Any] = {"colors": shade, "linewidths": 1.1, "capstyle": "round", "zorder": 3}
        options["alpha"] = np.where(close[:, 1:], 0.8, _FADED).ravel()
        ax.add_collection(LineCollection(list(segments), **(options | kwargs)))
        ends = paths[close[:, -1], -1]
        ax.scatter(ends[:, 0], ends[:, 1], s=22, c=shade, marker="X", edgecolors="white", linewidths=0.4, zorder=4)
        handles.append(Line2D([], [], color=shade, label=arm))
    name_arms(ax, handles)


def name_arms(ax: Axes, handles: list[Any]) -> None:
    """A legend of both arms, beside that of the groups, which stays that of the axes."""
    from matplotlib.legend import Legend

    ax.add_artist(Legend(ax, handles, [handle.get_label() for handle in handles], frameon=False, loc="best"))


def _curves(
    adata: AnnData, key_added: str, record: dict[str, Any], genes: Sequence[str] | None
) -> dict[str, tuple[np.ndarray, ...]]:
    """Control, perturbed and standard deviation over time, by gene."""
    model = stored_model(adata, key_added)
    parts = [np.asarray(record[f"response_{part}"], dtype=float) for part in ("control", "perturbed", "sd")]
    if genes is None:
        held = [str(gene) for gene in record["genes"] if str(gene) in model.genes]
        order = np.argsort(-np.abs(parts[1] - parts[0]).max(0), kind="stable")
        others = [model.genes[i] for i in order[: _N_GENES + len(held)] if model.genes[i] not in held]
        genes = [*held, *others[:_N_GENES]]
    return {
        gene: tuple(part[:, column] for part in parts) for gene, column in zip(genes, model.columns(genes), strict=True)
    }


def _draw_expression(
    record: dict[str, Any],
    curves: dict[str, tuple[np.ndarray, ...]],
    palette: Sequence[Any] | None,
    ax: Axes,
    kwargs: dict[str, Any],
) -> None:
    from matplotlib.lines import Line2D

    t, shades = np.asarray(record["path_t"]), list(palette or SAFE)
    handles = []
    for number, (gene, (control, perturbed, sd)) in enumerate(curves.items()):
        shade = shades[number % len(shades)]
        ax.plot(t, control, **({"color": shade, "linestyle": "--", "linewidth": 1.2} | kwargs))
        handles += ax.plot(t, perturbed, **({"color": shade, "linewidth": 1.8, "label": gene} | kwargs))
        ax.fill_between(t, perturbed - sd, perturbed + sd, color=shade, alpha=0.15, linewidth=0)
    handles.append(Line2D([], [], color="#777777", linestyle="--", linewidth=1.2, label="control"))
    ax.legend(handles=handles, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    ax.set(xlabel="time since the start (clock)", ylabel="expression (log-normalised)", xlim=(t[0], t[-1]))
    ax.spines[["top", "right"]].set_visible(False)
