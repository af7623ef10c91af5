"""A screen as a volcano."""

from __future__ import annotations

from collections import Counter
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
    from matplotlib.figure import Figure, SubFigure

_BY = "scnode.tl.screen(adata, groupby=, groups=)"


def screen(
    adata: AnnData,
    *,
    fate: str | None = None,
    n_labels: int = 12,
    alpha: float = 0.05,
    colors: tuple[str, str] = ("#b2182b", "#2166ac"),
    key_added: str = DEFAULT,
    ax: Axes | None = None,
    title: str | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    **kwargs: Any,
) -> Axes | Figure | SubFigure | None:
    """Fold change of a fate against its q value, for the genes that were held in full; a dot fades with its OOD share.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.screen`.
    fate
        Fate to draw, the first by default.
    n_labels
        How many of the most significant genes are named.
    alpha
        False discovery rate below which a gene is coloured.
    colors
        Of genes whose holding raises and lowers the fate.
    key_added
        Name of the run.
    ax
        Axes to draw on.
    title
        Title of the axes, by default the fate.
    show
        Whether to open a window; ``False`` returns the axes.
    return_fig
        Whether to return the figure.
    **kwargs
        Passed to :meth:`matplotlib.axes.Axes.scatter`.

    Returns
    -------
    Axes, Figure or None
        The axes with ``show=False``, the figure with `return_fig`.

    Raises
    ------
    ScnodeError
        No screen is stored, an unknown fate, or no gene was held in full.
    """
    from matplotlib.colors import to_rgba

    with stored_result(adata, Keys(key_added).uns, "screen", by=_BY) as stored:
        if stored is None:
            raise ScnodeError(f"No screen is stored. Run {_BY} first.")
        table = stored["table"]
        chosen = str(table["fate"].iloc[0]) if fate is None else fate
        if chosen not in set(table["fate"]):
            raise ScnodeError(f"{fate!r} is no fate of the screen. {near(fate, table['fate'].unique())} Pass fate=.")
        table = table[table["fate"] == chosen]
        if "qvalue" not in table or table["qvalue"].isna().all():
            raise ScnodeError("No gene was held in full. Run scnode.tl.screen(adata, n_verified=20).")
        table = table.astype(dict.fromkeys(("qvalue", "score", "log_fold_change", "ood"), float) | {"gene": str})
        table = table.dropna(subset=["qvalue"]).sort_values(["qvalue", "score"], key=_order)
    x, y = table["log_fold_change"].to_numpy(), -np.log10(table["qvalue"].to_numpy())
    called = table["qvalue"].to_numpy() < alpha
    shades = np.array([to_rgba(colors[0] if up else colors[1]) for up in x > 0])
    shades[~called] = to_rgba("#999999")
    shades[:, 3] = np.clip(1 - table["ood"].to_numpy(dtype=float), 0.15, 1)
    options: dict[str, Any] = {"c": shades, "s": 24, "linewidths": 0} | kwargs
    ax = new_axes(ax)
    ax.scatter(x, y, **options)
    ax.axhline(-np.log10(alpha), color="#999999", linewidth=0.8, linestyle="--")
    ax.axvline(0, color="#999999", linewidth=0.8)
    taken: Counter[tuple[float, float]] = Counter()
    for gene, left, up in zip(table["gene"][:n_labels], x, y, strict=False):
        # Effects and q values are bounded, so that strong genes share a place: their names stack below it.
        place = (round(left, 1), round(up, 1))
        ax.annotate(gene, (left, up), xytext=(4, 3 - 10 * taken[place]), textcoords="offset points", fontsize="small")
        taken[place] += 1
    ax.set(xlabel="log2 fold change of the fate, gene held", ylabel="-log10 q")
    ax.spines[["top", "right"]].set_visible(False)
    return finish(ax, title=chosen if title is None else title, show=show, return_fig=return_fig)


def _order(column: Any) -> Any:
    return -column.abs() if column.name == "score" else column
