"""Distances to held-out times by method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode.model import stored_result
from scnode.pl._cells import finish, new_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_LABELS = {"w1": "Wasserstein-1", "w2": "Wasserstein-2", "energy": "energy distance"}
_SHADES = {"scnode": "#d55e00", "ot_interpolation": "#0072b2", "no_motion": "0.6"}
_FLOOR = "noise_floor"
_BY = "scnode.tl.evaluate(adata, time_key=)"


def evaluation(
    adata: AnnData,
    *,
    metric: Literal["w1", "w2", "energy"] = "w1",
    key_added: str = DEFAULT,
    ax: Axes | None = None,
    title: str | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    **kwargs: Any,
) -> Axes | Figure | SubFigure | None:
    """Distance of each method's prediction from the cells of each held-out time, above the noise floor.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.evaluate`.
    metric
        ``"w1"``, ``"w2"`` or ``"energy"``.
    key_added
        Name of the run.
    ax
        Axes to draw on.
    title
        Title of the axes.
    show
        Whether to open a window; ``False`` returns the axes.
    return_fig
        Whether to return the figure.
    **kwargs
        Passed to :meth:`matplotlib.axes.Axes.bar`.

    Returns
    -------
    Axes, Figure or None
        The axes with ``show=False``, the figure with `return_fig`.

    Raises
    ------
    ScnodeError
        No evaluation is stored, or an unknown metric.
    """
    if metric not in _LABELS:
        raise ScnodeError(f"metric={metric!r} is unknown. Pass one of {list(_LABELS)}.")
    with stored_result(adata, Keys(key_added).uns, "evaluation", by=_BY) as stored:
        if stored is None:
            raise ScnodeError(f"No evaluation. Run {_BY} first, or pass key_added=.")
        values = stored["table"].pivot(index="holdout", columns="method", values=metric).sort_index()
        values, time_key = values[[*_SHADES, _FLOOR]].astype(float), str(stored["time_key"])
        times = values.index.to_numpy(dtype=float)
    ax = new_axes(ax)
    place, width = np.arange(len(values)), 0.8 / len(_SHADES)
    for i, (method, shade) in enumerate(_SHADES.items()):
        at = place + (i - (len(_SHADES) - 1) / 2) * width
        options: dict[str, Any] = {"width": width, "color": shade, "label": method}
        ax.bar(at, values[method], **(options | kwargs))
    floor = values[_FLOOR].to_numpy()
    ax.hlines(floor, place - 0.45, place + 0.45, colors="black", linestyles="dashed", label=_FLOOR)
    ax.set(xticks=place, xticklabels=[f"{t:.4g}" for t in times], ylabel=f"{_LABELS[metric]} (latent units)")
    ax.set_xlabel(f"held-out {time_key}")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)
    return finish(ax, title=title, show=show, return_fig=return_fig)
