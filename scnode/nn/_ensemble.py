"""An ensemble of multilayer perceptrons, one batched product a layer."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from scnode._errors import ScnodeError
from scnode.nn._perceptron import ACTIVATIONS, fusable, perceptron

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor


def check_networks(owner: str, *, hidden: Sequence[int], activation: str) -> None:
    """Refuse widths below 1 and unknown activations."""
    if min(hidden, default=1) < 1:
        raise ScnodeError(f"{owner}(hidden={tuple(hidden)}) needs sizes of at least 1. Pass positive integers.")
    if activation not in ACTIVATIONS:
        raise ScnodeError(f"{owner}(activation={activation!r}) is unknown. Pass one of {sorted(ACTIVATIONS)}.")


def new_networks(
    n_members: int, widths: Sequence[int], generator: torch.Generator | None
) -> tuple[nn.ParameterList, nn.ParameterList]:
    """Weights (member, in, out) of unit gain and biases (member, 1, out) of zero, one of each a layer."""
    weights, biases = nn.ParameterList(), nn.ParameterList()
    for fan_in, fan_out in itertools.pairwise(widths):
        weight = torch.rand(n_members, fan_in, fan_out, generator=generator) * 2 - 1
        weights.append(nn.Parameter(weight * math.sqrt(3 / fan_in)))
        biases.append(nn.Parameter(torch.zeros(n_members, 1, fan_out)))
    return weights, biases


def networks(inputs: Tensor, weights: Iterable[Tensor], biases: Iterable[Tensor], activation: str) -> Tensor:
    """Value of every member at its own inputs (member, row, in), or of one member at (row, in)."""
    if inputs.ndim == 2:
        return networks(inputs.unsqueeze(0), weights, biases, activation).squeeze(0)
    layers = list(weights), list(biases)
    # One batched product a layer, unless oneDNN is faster.
    if not fusable(inputs, layers[0]):
        return perceptron(inputs, *layers, activation)
    pairs = zip(inputs.unbind(0), split(*layers), strict=True)
    return torch.stack([perceptron(x, *network, activation) for x, network in pairs])


def split(weights: Iterable[Tensor], biases: Iterable[Tensor]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Weights and biases of each member."""
    apart_weights, apart_biases = ([p.unbind(0) for p in layers] for layers in (weights, biases))
    n_members = len(apart_weights[0])
    return [([w[m] for w in apart_weights], [b[m].squeeze(0) for b in apart_biases]) for m in range(n_members)]


def with_time(t: Tensor, z: Tensor) -> Tensor:
    """States with their time as one more input, the last."""
    return torch.cat((z, t.to(z).expand(*z.shape[:-1], 1)), -1)
