"""A linear map and a perceptron that corrects it."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from scnode._errors import ScnodeError
from scnode.nn._perceptron import ACTIVATIONS, perceptron

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_ACTIVATION = "silu"


class ResidualPerceptron(nn.Module):
    r"""Map :math:`y = xA + b + \mathrm{MLP}(x)`, smooth; all zero until :meth:`start`.

    Parameters
    ----------
    n_in, n_out
        Sizes of input and output.
    hidden
        Widths of the hidden layers.

    Raises
    ------
    ScnodeError
        A size below 1.
    """

    def __init__(self, n_in: int, n_out: int, *, hidden: Sequence[int]) -> None:
        super().__init__()
        widths = (n_in, *hidden, n_out)
        if min(widths) < 1:
            raise ScnodeError(f"Layers of widths {widths} need sizes of at least 1. Pass positive integers.")
        self.linear, self.bias = nn.Parameter(torch.zeros(n_in, n_out)), nn.Parameter(torch.zeros(n_out))
        self.weights = nn.ParameterList(torch.zeros(a, b) for a, b in itertools.pairwise(widths))
        self.biases = nn.ParameterList(torch.zeros(b) for b in widths[1:])

    def start(self, linear: Tensor, bias: Tensor, *, generator: torch.Generator) -> None:
        """Begin at a linear map of the leading inputs and outputs; the correction begins at zero, ready to learn."""
        with torch.no_grad():
            self.linear[: linear.shape[0], : linear.shape[1]] = linear
            self.bias[: len(bias)] = bias
            for weight in self.weights[:-1]:
                weight.copy_((torch.rand(weight.shape, generator=generator) * 2 - 1) * math.sqrt(3 / len(weight)))

    def forward(self, x: Tensor) -> Tensor:
        """Value of (row, in) as (row, out)."""
        correction = perceptron(x, list(self.weights), list(self.biases), _ACTIVATION)
        return torch.addmm(self.bias, x, self.linear) + correction

    def some(self, x: Tensor, columns: Tensor) -> Tensor:
        """Outputs (..., held) of places (held,) or (row, held) at inputs (..., row, in)."""
        *weights, last = self.weights
        *biases, offset = self.biases
        hidden = x
        if weights:
            hidden = perceptron(x.reshape(-1, x.shape[-1]), weights, biases, _ACTIVATION)
            hidden = ACTIVATIONS[_ACTIVATION].value(hidden).reshape(*x.shape[:-1], -1)
        pairs = ((x, self.linear.T[columns]), (hidden, last.T[columns]))
        products = [a @ w.mT if columns.ndim == 1 else (a.unsqueeze(-2) * w).sum(-1) for a, w in pairs]
        return products[0] + products[1] + (self.bias + offset)[columns]
