"""An input that changes with time, given at some times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from scnode._errors import ScnodeError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    r"""Input :math:`u(t)` from its values :math:`u_k` at times :math:`t_k`.

    Before the first time it is :math:`u_1` and after the last :math:`u_K`; gradients flow to the values.

    Parameters
    ----------
    times
        Strictly increasing, shape (time,), in units of the clock.
    values
        Shape (time, control).
    kind
        ``"constant"``: :math:`u_k` from :math:`t_k` until :math:`t_{k+1}`. ``"linear"``: straight in between.

    Raises
    ------
    ScnodeError
        Shapes that do not fit, times that do not increase, anything not finite, or an unknown kind.

    Examples
    --------
    >>> import torch
    >>> from scnode import nn
    >>> pulse = nn.Schedule([0.0, 0.5], [[1.0], [0.0]])
    >>> pulse(torch.tensor(0.7))
    tensor([0.])
    """

    times: Tensor
    values: Tensor
    kind: Literal["constant", "linear"] = "constant"

    def __post_init__(self) -> None:
        times, values = (_floats(x) for x in (self.times, self.values))
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "values", values)
        if self.kind not in ("constant", "linear"):
            raise ScnodeError(f"Schedule(kind={self.kind!r}) is unknown. Pass 'constant' or 'linear'.")
        if times.ndim != 1 or values.ndim != 2 or not len(times) or len(times) != len(values):
            raise ScnodeError(
                f"A schedule has times of shape {tuple(times.shape)} and values of shape {tuple(values.shape)}. "
                "Pass times (time,) and values (time, control)."
            )
        if not bool(torch.isfinite(times).all() & torch.isfinite(values).all() & (times.diff() > 0).all()):
            raise ScnodeError("The times of a schedule must increase, and all be finite. Sort them and drop repeats.")

    @property
    def breaks(self) -> Tensor:
        """Times at which the input jumps or bends."""
        return self.times[1:] if self.kind == "constant" else self.times

    def __call__(self, t: Tensor) -> Tensor:
        """Input at times t, a scalar or a column (row, 1): (control,) or (row, control)."""
        at = t.squeeze(-1) if t.ndim else t
        times, values = self.times.to(at), self.values.to(at)
        before = torch.searchsorted(times.detach(), at.detach().contiguous(), right=True) - 1
        left = before.clamp(min=0)
        if self.kind == "constant":
            return values[left]
        right = (before + 1).clamp(max=len(times) - 1)
        length = torch.where(right > left, times[right] - times[left], torch.ones_like(at))
        share = ((at - times[left]) / length).clamp(0, 1).unsqueeze(-1)
        return values[left] + share * (values[right] - values[left])


def _floats(values: Any) -> Tensor:
    tensor = torch.as_tensor(values)
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
