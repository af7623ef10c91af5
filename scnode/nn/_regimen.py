"""Which constraint holds when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scnode._errors import ScnodeError
from scnode.nn._hold import Hold

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Regimen:
    r"""Constraints in turn: the k-th from the break :math:`t_k` on until the next, where None lets the flow go.

    Parameters
    ----------
    breaks
        Increasing times since the start, shape (break,).
    holds
        One more than `breaks`.

    Raises
    ------
    ScnodeError
        Numbers that do not fit, or breaks that do not increase.
    """

    breaks: Tensor
    holds: tuple[Hold | None, ...]

    def __post_init__(self) -> None:
        if len(self.holds) != len(self.breaks) + 1 or not bool((self.breaks.diff() > 0).all()):
            raise ScnodeError(
                f"{len(self.holds)} constraints do not go with breaks {self.breaks.tolist()}. Pass increasing breaks, "
                "and one constraint more."
            )

    @classmethod
    def of(cls, hold: Hold | Regimen | None) -> Regimen:
        """One constraint throughout, or none."""
        return hold if isinstance(hold, Regimen) else cls(torch.zeros(0), (hold,))

    @property
    def moves(self) -> bool:
        """Whether anything depends on time."""
        return len(self.holds) > 1 or (self.holds[0] is not None and self.holds[0].moves)

    def at(self, t: Tensor) -> Hold | None:
        """The constraint at a time."""
        return self.holds[int((self.breaks.to(t) <= t).sum())]

    def confine(self, states: Tensor, t: Tensor | None = None) -> Tensor:
        """States (..., row, latent) on the constraint of a time since the start, by default the start itself."""
        t = torch.zeros(()) if t is None else t
        hold = self.at(t)
        return states if hold is None else hold.confine(states, t)
