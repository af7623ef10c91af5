"""Trajectories of the fitted field over an embedding, as a film."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode.data import Support
from scnode.pl._cells import draw_cells, embedding, new_axes
from scnode.pl._perturbation import CONTROL, PERTURBED, few_paths, name_arms, stored_perturbation
from scnode.pl._place import place
from scnode.pl._trajectories import placed_paths

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.animation import AbstractMovieWriter, FuncAnimation
    from matplotlib.axes import Axes

_PICTURES = (".apng", ".gif", ".webp")
_FILMS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")


def animate(
    adata: AnnData,
    *,
    basis: str = "umap",
    color: str | None = None,
    perturbation: str | None = None,
    path: str | Path | None = None,
    key_added: str = DEFAULT,
    n_trajectories: int = 200,
    n_tail: int = 8,
    fps: int = 20,
    dpi: int = 120,
    dot_color: str = "black",
    size: float | None = None,
    alpha: float = 0.35,
    legend_loc: str | None = "right margin",
    palette: Any = None,
    ax: Axes | None = None,
    title: str | None = None,
    **kwargs: Any,
) -> FuncAnimation:
    """Cells under way over an embedding, each a dot with the last steps of its way behind it.

    States are placed as in :func:`scnode.pl.trajectories`; a dot fades where its state should not be believed.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.trajectories` or :func:`scnode.tl.perturb`; a frame for each step.
    basis
        Embedding, ``"umap"`` for ``obsm["X_umap"]``.
    color
        `obs` column or gene that colours the cells that stand still.
    perturbation
        Name of a perturbation, whose control and perturbed arms are shown together instead of the trajectories.
    path
        File to write, by its ending an animated picture (``.gif``, ``.webp``, ``.apng``; needs nothing else) or a film
        (``.mp4``, ``.webm``, ``.mov``, ...; needs ffmpeg). Nothing is written by default.
    key_added
        Name of the run.
    n_trajectories
        How many dots, evenly taken from all starts and samples.
    n_tail
        Steps behind a dot.
    fps
        Frames per second.
    dpi
        Of the file.
    dot_color
        Colour of the dots and what they leave behind; of a perturbation, each arm has its own.
    size, alpha, legend_loc, palette
        Of the cells, as in :func:`scanpy.pl.embedding`.
    ax
        Axes to draw on.
    title
        What stands before the time of the clock above each frame.
    **kwargs
        Passed to :meth:`matplotlib.axes.Axes.scatter` for the dots.

    Returns
    -------
    FuncAnimation
        Keep it, or it is not drawn: ``HTML(animation.to_jshtml())`` shows it in a notebook.

    Raises
    ------
    ScnodeError
        No trajectories, or no perturbation of that name, are stored, the basis or the colour is missing, a file ending
        that no writer knows, or a film without ffmpeg.
    """
    from matplotlib.animation import FuncAnimation

    keys = Keys(key_added)
    writer = None if path is None else _writer(Path(path), fps)
    position = embedding(adata, basis)
    t, arms = _arms(
        adata, keys, position, perturbation=perturbation, n_trajectories=n_trajectories, dot_color=dot_color
    )
    ax = new_axes(ax)
    draw_cells(adata, basis, color, ax, size=size, alpha=alpha, legend_loc=legend_loc, palette=palette, title="")
    limits = ax.get_xlim(), ax.get_ylim()
    clouds = [_Cloud(ax, arm, n_tail, kwargs) for arm in arms]
    if perturbation is not None:
        name_arms(ax, [cloud.dots for cloud in clouds])
    ax.set(xlim=limits[0], ylim=limits[1])

    def frame(number: int) -> list[Any]:
        ax.set_title(f"{title + ', ' if title else ''}time {t[number]:.2f}")
        return [part for cloud in clouds for part in cloud.show(number)]

    figure: Any = ax.figure
    film = FuncAnimation(figure, frame, frames=len(t), interval=1000 / fps, blit=False)
    if path is not None:
        film.save(path, writer=writer, dpi=dpi)
    return film


@dataclass(frozen=True)
class _Arm:
    """Where cells are (cell, step, 2), and belief in [0, 1] in each state (cell, step)."""

    paths: np.ndarray
    belief: np.ndarray
    color: str
    label: str | None = None


def _arms(
    adata: AnnData, keys: Keys, position: np.ndarray, *, perturbation: str | None, n_trajectories: int, dot_color: str
) -> tuple[np.ndarray, list[_Arm]]:
    """Times, and what moves: trajectories, or both arms of a perturbation."""
    if perturbation is None:
        t, paths, belief = placed_paths(adata, position, keys, n_trajectories)
        return t, [_Arm(paths, belief, color=dot_color)]
    record = stored_perturbation(adata, keys, perturbation)
    support = Support(np.asarray(adata.obsm[keys.latent], dtype=float))
    arms = [
        _Arm(*place(support, position, states), color=color, label=label)
        for states, color, label in zip(
            few_paths(record, n_trajectories), (CONTROL, PERTURBED), ("control", "perturbed"), strict=True
        )
    ]
    return np.asarray(record["path_t"], dtype=float), arms


class _Cloud:
    """The dots of one arm with the last steps of their way."""

    def __init__(self, ax: Axes, arm: _Arm, n_tail: int, options: dict[str, Any]) -> None:
        from matplotlib.collections import LineCollection

        self.arm, self.n_tail = arm, n_tail
        look: dict[str, Any] = {"s": 14, "linewidths": 0, "zorder": 4, "color": arm.color, "label": arm.label}
        self.dots = ax.scatter(*arm.paths[:, 0].T, **(look | options))
        self.tails = LineCollection([], linewidths=0.9, capstyle="round", zorder=3)
        ax.add_collection(self.tails)

    def show(self, number: int) -> tuple[Any, Any]:
        """Move to a step."""
        from matplotlib.colors import to_rgb

        shade, strength = to_rgb(self.arm.color), 0.15 + 0.85 * self.arm.belief[:, number]
        self.dots.set_offsets(self.arm.paths[:, number])
        self.dots.set_facecolor([(*shade, s) for s in strength])
        self.tails.set_segments(list(self.arm.paths[:, max(0, number - self.n_tail) : number + 1]))
        self.tails.set_color([(*shade, 0.5 * s) for s in strength])
        return self.dots, self.tails


def _writer(path: Path, fps: int) -> AbstractMovieWriter:
    """What writes files of this ending."""
    from matplotlib.animation import FFMpegWriter, PillowWriter

    ending = path.suffix.lower()
    if ending in _PICTURES:
        return PillowWriter(fps=fps)
    if ending not in _FILMS:
        raise ScnodeError(f"path={str(path)!r}: no writer for {ending!r}. Pass one of {[*_PICTURES, *_FILMS]}.")
    if not FFMpegWriter.isAvailable():
        raise ScnodeError(f"path={str(path)!r}: films need the program ffmpeg, which is not found. Pass a .gif path.")
    return FFMpegWriter(fps=fps)
