"""The non-stiff work: one network in plain torch, as scnode's field, and as bare arrays, with the same weights."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from scnode.nn import MLPField

Layers = list[tuple[np.ndarray, np.ndarray]]
WIDTHS = (20, 128, 128, 128, 20)


def layers(widths: Sequence[int] = WIDTHS, *, gain: float = 3.5, seed: int = 0) -> Layers:
    """Weights (out, in) and biases as nn.Linear draws them, times `gain`."""
    rng = np.random.default_rng(seed)
    drawn = []
    for fan_in, fan_out in itertools.pairwise(widths):
        bound = gain / np.sqrt(fan_in)
        drawn.append((rng.uniform(-bound, bound, (fan_out, fan_in)), rng.uniform(-bound, bound, fan_out)))
    return drawn


class Plain(nn.Module):
    """The network as a user of torchdiffeq writes it; counts its calls."""

    def __init__(self, weights: Layers, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.calls = 0
        parts: list[nn.Module] = []
        for weight, bias in weights:
            linear = nn.Linear(*weight.shape[::-1], dtype=dtype)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weight))
                linear.bias.copy_(torch.from_numpy(bias))
            parts += [linear, nn.Tanh()]
        self.net = nn.Sequential(*parts[:-1])

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        del t
        self.calls += 1
        return self.net(y)


class Paced(nn.Module):
    """`field` at a pace of each cell's own, which is the last, constant state."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        state, pace = y[:, :-1], y[:, -1:]
        return torch.cat([pace * self.field(t, state), torch.zeros_like(pace)], dim=1)


def fused(weights: Layers, dtype: torch.dtype = torch.float32) -> MLPField:
    """The same network as scnode's own field."""
    hidden = tuple(len(bias) for _, bias in weights[:-1])
    field = MLPField(weights[0][0].shape[1], hidden=hidden, n_members=1, activation="tanh").to(dtype)
    with torch.no_grad():
        for mine, (weight, _) in zip(field.weights, weights, strict=True):
            mine.copy_(torch.from_numpy(weight.T).reshape(mine.shape))
        for mine, (_, bias) in zip(field.biases, weights, strict=True):
            mine.copy_(torch.from_numpy(bias).reshape(mine.shape))
    return field


def states(n_cells: int, n_latent: int = 20, *, seed: int = 1) -> Tensor:
    """Standard normal initial states."""
    return torch.randn(n_cells, n_latent, generator=torch.Generator().manual_seed(seed))


def gradient(field: nn.Module) -> np.ndarray:
    """All parameter gradients as one vector, in the order and layout of nn.Linear, and none left behind."""
    grads = {name: p.grad.detach().double() for name, p in field.named_parameters() if p.grad is not None}
    field.zero_grad(set_to_none=True)
    mlp = next((m for m in field.modules() if isinstance(m, MLPField)), None)
    if mlp is None:
        return torch.cat([g.flatten() for g in grads.values()]).numpy()
    prefix = next(name for name in grads if name.endswith("weights.0"))[: -len("weights.0")]
    order = [(grads[f"{prefix}weights.{i}"], grads[f"{prefix}biases.{i}"]) for i in range(len(mlp.weights))]
    return torch.cat([part for w, b in order for part in (w.squeeze(0).T.flatten(), b.flatten())]).numpy()


def backward(field: nn.Module, ys: Tensor) -> tuple[Tensor, np.ndarray]:
    """States and parameter gradient of their mean square."""
    ys.square().mean().backward()
    return ys.detach(), gradient(field)


def relative(value: object, truth: object) -> float:
    """Norm of the difference over the norm of the truth."""
    a, b = (np.asarray(x.detach() if isinstance(x, Tensor) else x, dtype=float) for x in (value, truth))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
