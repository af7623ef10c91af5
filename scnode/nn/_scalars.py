"""Gradients and Hessians of scalars that a perceptron gives, in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scnode.nn._perceptron import ACTIVATIONS, _plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


def _silu_curvature(z: Tensor) -> Tensor:
    s = torch.sigmoid(z)
    return s * (1 - s) * (2 + z * (1 - 2 * s))


def _softplus_curvature(z: Tensor) -> Tensor:
    s = torch.sigmoid(z)
    return s * (1 - s)


_CURVATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": _silu_curvature,
    "softplus": _softplus_curvature,
    "tanh": lambda h: -2 * h * (1 - h * h),
}
"""Second derivative of each activation from what it keeps."""


def gradients(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str) -> Tensor:
    """Gradient of every output of an ensemble's networks, itself any number of times differentiable.

    Parameters
    ----------
    x
        Inputs, shape (member, row, in).
    weights, biases
        Shape (member, in, out) and (member, 1, out), one for each layer.
    activation
        Key of :data:`scnode.nn._perceptron.ACTIVATIONS`.

    Returns
    -------
    Tensor
        Shape (member, row, out, in).
    """
    kept, slope = _plain(x, weights, biases, activation)[0], ACTIVATIONS[activation].slope
    gradient = weights[-1].mT.unsqueeze(1).expand(-1, x.shape[1], -1, -1)
    for weight, k in zip(weights[-2::-1], kept[::-1], strict=True):
        # One product a member: the rows of all outputs side by side.
        below = (gradient * slope(k).unsqueeze(2)).flatten(1, 2) @ weight.mT
        gradient = below.unflatten(1, gradient.shape[1:3])
    return gradient


def hessians(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str) -> Tensor:
    r"""Hessian of every output of one network.

    Over the hidden layers, with :math:`J` the Jacobian of a layer's pre-activations :math:`a`, :math:`\sigma` the
    activation and :math:`g` the gradient of the output by the layer's values,
    :math:`H = \sum J^\top \mathrm{diag}(g\,\sigma''(a))\,J`, which is symmetric term by term.

    Parameters
    ----------
    x
        Inputs, shape (row, in).
    weights, biases
        Shape (in, out) and (out,), one for each layer.
    activation
        As for :func:`gradients`.

    Returns
    -------
    Tensor
        Shape (row, out, in, in).
    """
    kept, act = _plain(x, weights, biases, activation)[0], ACTIVATIONS[activation]
    total = x.new_zeros(len(x), weights[-1].shape[1], x.shape[1], x.shape[1])
    if not kept:
        return total
    forward = weights[0].expand(len(x), -1, -1)
    for i, (k, above) in enumerate(zip(kept, _adjoints(kept, weights, activation), strict=True)):
        bend = above * _CURVATURES[activation](k).unsqueeze(1)
        total = total + (forward.unsqueeze(1) * bend.unsqueeze(2)) @ forward.mT.unsqueeze(1)
        if i + 1 < len(kept):
            forward = (forward * act.slope(k).unsqueeze(1)) @ weights[i + 1]
    return total


def _adjoints(kept: Sequence[Tensor], weights: Sequence[Tensor], activation: str) -> list[Tensor]:
    """Gradient of the outputs by the values of each hidden layer, (row, out, hidden)."""
    found = [weights[-1].t().expand(len(kept[0]), -1, -1)]
    for weight, k in zip(weights[-2:0:-1], kept[:0:-1], strict=True):
        found.append((found[-1] * ACTIVATIONS[activation].slope(k).unsqueeze(1)) @ weight.t())
    return found[::-1]
