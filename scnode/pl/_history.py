"""Losses of a fit by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._validation import near
from scnode.model import stored_result
from scnode.pl._cells import finish, new_axes

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


def history(
    adata: AnnData,
    *,
    key_added: str = DEFAULT,
    ax: Axes | None = None,
    title: str | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    **kwargs: Any,
) -> Axes | Figure | SubFigure | None:
    """Training and validation loss by epoch, with the state that was kept.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit`.
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
        Passed to :meth:`matplotlib.axes.Axes.plot`.

    Returns
    -------
    Axes, Figure or None
        The axes with ``show=False``, the figure with `return_fig`.

    Raises
    ------
    ScnodeError
        No fit is stored under this name.
    """
    keys = Keys(key_added)
    stages = _stages(adata, keys)
    ax = new_axes(ax)
    begin = 0
    for number, (stage, rows) in enumerate(stages.items()):
        epoch = begin + np.arange(1, len(rows) + 1)
        for column, shade, style in (("train_loss", "0.55", "-"), ("validation_loss", "#0072b2", "-")):
            label = column.replace("_loss", "") if number == 0 else None
            ax.plot(epoch, rows[column], style, color=shade, label=label, **kwargs)
        best = int(np.argmin(rows["validation_loss"]))
        kept = "kept" if number == 0 else None
        ax.plot(epoch[best], rows["validation_loss"][best], "o", color="#d55e00", label=kept, zorder=3)
        ax.annotate(
            stage,
            (begin + len(rows) / 2, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, -12),
            textcoords="offset points",
            ha="center",
        )
        begin += len(rows)
        if number + 1 < len(stages):
            ax.axvline(begin + 0.5, color="0.8", linewidth=0.8)
    ax.set(xlabel="epoch", ylabel="loss", yscale="log")
    ax.legend(frameon=False)
    return finish(ax, title=title, show=show, return_fig=return_fig)


def _stages(adata: AnnData, keys: Keys) -> dict[str, pd.DataFrame]:
    """Losses (epoch,) of every stage."""
    with stored_result(adata, keys.uns, "history") as record:
        if record is None:
            raise ScnodeError(
                f"adata.uns[{keys.uns!r}] holds no history. {near(keys.uns, adata.uns)} Run scnode.tl.fit(adata) first."
            )
        losses = record[["train_loss", "validation_loss"]].astype(float)
        groups = losses.groupby(record["stage"].astype(str).to_numpy(), sort=False)
        return {stage: rows.reset_index(drop=True) for stage, rows in groups}
