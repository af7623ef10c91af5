"""What the scripts of figures share: colours that the colour-blind tell apart, and the choice of what to draw."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

import scnode

BLUE, ORANGE, GREEN, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "0.6"


def draw(figures: Sequence[Callable[[], plt.Figure]]) -> None:
    """Save all, or those named on the command line, each under the name of its function."""
    scnode.settings.verbosity = 1
    asked = sys.argv[1:] or [figure.__name__ for figure in figures]
    for figure in figures:
        if figure.__name__ in asked:
            target = Path(__file__).parents[1] / "_static" / f"{figure.__name__}.png"
            figure().savefig(target, dpi=100)
            plt.close("all")
