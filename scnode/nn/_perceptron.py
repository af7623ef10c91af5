"""One multilayer perceptron and its Jacobian, as fast as a CPU allows.

Weights are laid out (in, out), or (member, in, out) for an ensemble, whose inputs and results are then
(member, row, feature).
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import forward_ad
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

_SMALLEST = 1 << 20
"""Multiplications in the widest layer below which oneDNN's price per call exceeds its gain."""

_FEW = 1 << 15
"""Elements below which a Python function's price exceeds the gain of a faster tanh."""

_CACHE = 1 << 20
"""Bytes of a temporary that stays in a core's cache."""

_GAIN = 1.3
"""How much faster than ATen oneDNN must multiply before it is used."""


class _Tanh(torch.autograd.Function):
    """Hyperbolic tangent in place; ATen's sigmoid costs a sixth of its tanh on a CPU."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        z.mul_(2).sigmoid_().mul_(2).sub_(1)
        ctx.mark_dirty(z)
        ctx.save_for_backward(z)
        return z

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return torch.ops.aten.tanh_backward(gradients[0], *ctx.saved_tensors)


def _tanh(z: Tensor) -> Tensor:
    """Hyperbolic tangent of a tensor that nobody else holds."""
    tracked = torch.is_grad_enabled() and z.requires_grad
    if z.numel() < (_FEW if tracked else _FEW // 8) or z.device.type != "cpu" or _transformed():
        return torch.tanh(z)
    return _Tanh.apply(z) if tracked else z.mul_(2).sigmoid_().mul_(2).sub_(1)


def _silu_slope(z: Tensor) -> Tensor:
    s = torch.sigmoid(z)
    return s * (1 + z * (1 - s))


@dataclass(frozen=True)
class Activation:
    """An elementwise function and its derivative.

    Parameters
    ----------
    value
        Of the pre-activation, which it may overwrite unless the pre-activation is kept.
    slope
        Derivative from what is kept; any number of times differentiable.
    backward
        Gradient at the pre-activation from the gradient at the output and what is kept.
    keeps_output
        Whether the output is kept, rather than the pre-activation.
    """

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    keeps_output: bool


ACTIVATIONS = {
    "silu": Activation(F.silu, _silu_slope, torch.ops.aten.silu_backward, keeps_output=False),
    "softplus": Activation(
        F.softplus, torch.sigmoid, lambda g, z: torch.ops.aten.softplus_backward(g, z, 1, 20), keeps_output=False
    ),
    "tanh": Activation(_tanh, lambda h: 1 - h * h, torch.ops.aten.tanh_backward, keeps_output=True),
}


def perceptron(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str) -> Tensor:
    """Value of a perceptron; the last layer is linear.

    Parameters
    ----------
    x
        Inputs, shape (row, in) or (member, row, in).
    weights
        One for each layer, shape (in, out) or (member, in, out).
    biases
        One for each layer, shape (out,) or (member, 1, out).
    activation
        Key of :data:`ACTIVATIONS`.

    Returns
    -------
    Tensor
        Shape (row, out) or (member, row, out).
    """
    fused = x.ndim == 2 and fusable(x, weights)
    if _differentiated(x, weights, biases):
        if fused:
            return _Fused.apply(x, activation, *weights, *biases)
        return _plain(x, weights, biases, activation)[1]
    forward, rows = _fused if fused else _plain, _cached_rows(weights)
    # Short inputs gain less by staying in cache than the parts cost.
    parts = x.split(rows, -2) if x.shape[-2] > 4 * rows else (x,)
    values = [forward(part, weights, biases, activation)[1][..., : part.shape[-2], :] for part in parts]
    return values[0] if len(values) == 1 else torch.cat(values, -2)


def perceptron_jacobian(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str) -> Tensor:
    """Jacobian of a perceptron, as a product of its layers taken from the narrower end.

    Parameters
    ----------
    x
        Inputs, shape (row, in).
    weights, biases
        As for :func:`perceptron`, of one network.
    activation
        Key of :data:`ACTIVATIONS`.

    Returns
    -------
    Tensor
        Shape (row, out, in).
    """
    from_input = len(weights[0]) < weights[-1].shape[1]
    factors = list(weights) if from_input else [w.t() for w in reversed(weights)]
    if _differentiated(x, weights, biases) or _transformed():
        slopes = _slopes(_plain(x, weights, biases, activation)[0], activation)
        chain = _chain(factors, slopes if from_input else slopes[::-1], len(x))
    else:
        chain = _chain_in_cache(x, weights, biases, activation, factors, from_input=from_input)
    return chain.transpose(1, 2) if from_input else chain


def fusable(x: Tensor, weights: Sequence[Tensor]) -> bool:
    """Whether each network is one for oneDNN: float32, on a CPU, and large enough."""
    return (
        x.shape[-2] * max(w.shape[-2] * w.shape[-1] for w in weights) >= _SMALLEST
        and x.device.type == "cpu"
        and x.dtype == weights[0].dtype == torch.float32
        and not _transformed()
        and onednn_pays()
    )


@functools.cache
def onednn_pays() -> bool:
    """Whether the private oneDNN operator is correct here, and faster than ATen.

    It is where ATen's library does not use the full width of the vector units, as on recent AMD cores. Asked at the
    first use, not at import: a process must not start threads before its user may fork it.
    """
    if not onednn_works():
        return False
    x, w, b = torch.ones(256, 128), torch.full((128, 128), 1 / 128), torch.zeros(128)
    pairs = [(_seconds(lambda: torch.addmm(b, x, w)), _seconds(lambda: _onednn(x, w.t(), b))) for _ in range(8)]
    aten, onednn = (min(seconds) for seconds in zip(*pairs, strict=True))
    return aten > _GAIN * onednn


@functools.cache
def onednn_works() -> bool:
    """Whether the private oneDNN operator exists and agrees with ATen."""
    if not torch.backends.mkldnn.is_available():
        return False
    x, w, b = torch.linspace(-2, 2, 15).view(5, 3), torch.linspace(1, -1, 12).view(3, 4), torch.linspace(0, 1, 4)
    try:
        with torch.no_grad():
            pairs = [
                (_onednn(x, w.t(), b), x @ w + b),
                (_onednn(x, w.t(), b, "tanh"), torch.tanh(x @ w + b)),
                (_onednn(x.t(), x.t()), x.t() @ x),
            ]
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    return all(torch.allclose(value, expected, rtol=0, atol=2e-6) for value, expected in pairs)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None, then: str = "none") -> Tensor:
    """Product with a weight laid out (out, in), and `then` an elementwise function."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], "")


@torch.no_grad()
def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _transformed() -> bool:
    """Whether torch.func, forward-mode differentiation or a compiler looks at the operations."""
    # A torch without this private question is taken to transform always.
    functorch: Callable[[], bool] = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)
    dual = getattr(forward_ad, "_current_level", -1) >= 0
    return dual or torch.compiler.is_compiling() or functorch()


def _differentiated(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(p.requires_grad for p in (x, *weights, *biases))


def _cached_rows(weights: Sequence[Tensor]) -> int:
    """Rows of one network whose activations stay in cache: a power of two."""
    widest = max(w.shape[-1] for w in weights)
    return _power_of_two(_CACHE // (2 * widest * weights[0].element_size()))


def _power_of_two(n: int) -> int:
    """The largest that is not above `n`, and at least 1."""
    return 1 << (max(n, 1).bit_length() - 1)


def _padded(x: Tensor) -> Tensor:
    """At most an eighth more rows: oneDNN spends milliseconds on every number of rows that it sees first."""
    n = len(x)
    step = 1 << max(n.bit_length() - 4, 3)
    return F.pad(x, (0, 0, 0, -n % step)) if n % step else x


def _plain(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str
) -> tuple[list[Tensor], Tensor]:
    """What every hidden layer keeps, and the value."""
    act, kept = ACTIVATIONS[activation], []
    linear = torch.addmm if x.ndim == 2 else torch.baddbmm
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        z = linear(bias, x, weight)
        x = act.value(z)
        kept.append(x if act.keeps_output else z)
    return kept, linear(biases[-1], x, weights[-1])


def _fused(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str
) -> tuple[list[Tensor], Tensor]:
    """As :func:`_plain`, with the rows padded."""
    act, x, kept = ACTIVATIONS[activation], _padded(x), []
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        z = _onednn(x, weight.t(), bias, "tanh" if activation == "tanh" else "none")
        x = z if activation == "tanh" else act.value(z)
        kept.append(x if act.keeps_output else z)
    return kept, _onednn(x, weights[-1].t(), biases[-1])


class _Fused(torch.autograd.Function):
    """The whole network by oneDNN, with its gradient written out; one tensor is kept for each hidden layer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: str, *parameters: Tensor) -> Tensor:
        depth = len(parameters) // 2
        kept, value = _fused(x, parameters[:depth], parameters[depth:], activation)
        ctx.activation = activation
        ctx.save_for_backward(x, *parameters, *kept)
        return value[: len(x)]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        if torch.is_grad_enabled() or _transformed():
            return _gradient_by_torch(ctx, gradients[0])
        x, *saved = ctx.saved_tensors
        depth = (len(saved) + 1) // 3
        weights, kept = saved[:depth], saved[2 * depth :]
        wanted = ctx.needs_input_grad[2 : 2 + depth], ctx.needs_input_grad[2 + depth :]
        act, g = ACTIVATIONS[ctx.activation], _padded(gradients[0].contiguous())
        of_weights: list[Tensor | None] = [None] * depth
        of_biases: list[Tensor | None] = [None] * depth
        for i in reversed(range(depth)):
            if wanted[0][i]:
                of_weights[i] = _product_over_rows(_layer_input(x, kept, i, act), g)
            if wanted[1][i]:
                of_biases[i] = g.sum(0)
            if i > 0:
                g = act.backward(_onednn(g, weights[i]), kept[i - 1])
        of_x = _onednn(g, weights[0])[: len(x)] if ctx.needs_input_grad[0] else None
        return of_x, None, *of_weights, *of_biases


def _layer_input(x: Tensor, kept: Sequence[Tensor], i: int, act: Activation) -> Tensor:
    if i == 0:
        return _padded(x)
    return kept[i - 1] if act.keeps_output else act.value(kept[i - 1])


def _product_over_rows(x: Tensor, g: Tensor) -> Tensor:
    """Gradient of a weight; oneDNN is slow where one side is narrow."""
    return _onednn(x.t(), g.t()) if min(x.shape[1], g.shape[1]) >= 64 else x.t() @ g


def _gradient_by_torch(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    """The gradient where it is itself differentiated, as a function of everything that it depends on, or batched."""
    x, *saved = ctx.saved_tensors
    depth = (len(saved) + 1) // 3
    # Aliases, since an input may itself depend on a parameter and only the direct dependence counts here.
    with torch.enable_grad():
        x, *parameters = (p.view_as(p) for p in (x, *saved[: 2 * depth]))
        value = _plain(x, parameters[:depth], parameters[depth:], ctx.activation)[1]
    needed = [p for p, need in zip((x, None, *parameters), ctx.needs_input_grad, strict=True) if need]
    found = iter(torch.autograd.grad(value, needed, g, create_graph=torch.is_grad_enabled()))
    return tuple(next(found) if need else None for need in ctx.needs_input_grad)


def _slopes(kept: Sequence[Tensor], activation: str) -> list[Tensor]:
    return [ACTIVATIONS[activation].slope(k).unsqueeze(1) for k in kept]


def _chain(factors: Sequence[Tensor], slopes: Sequence[Tensor], n_rows: int) -> Tensor:
    """Product of the factors with the slopes between them."""
    product = factors[0].expand(n_rows, *factors[0].shape)
    for slope, factor in zip(slopes, factors[1:], strict=True):
        product = (product * slope) @ factor
    return product


def _chain_in_cache(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str,
    factors: Sequence[Tensor],
    *,
    from_input: bool,
) -> Tensor:
    """As :func:`_chain`, in chunks whose temporaries stay in cache."""
    out = x.new_empty(len(x), len(factors[0]), factors[-1].shape[1])
    if len(factors) == 1:
        return out.copy_(factors[0])
    if not len(x):
        return out
    # A strided first factor makes its product with the slopes five times slower.
    factors = [factors[0].contiguous(), *factors[1:]]
    height, widest = len(factors[0]), max(len(factor) for factor in factors)
    chunk = _power_of_two(_CACHE // (height * widest * x.element_size()))
    buffers = x.new_empty(2, chunk * height * widest)
    rows = _cached_rows(weights)
    for part, found in zip(x.split(rows), out.split(rows), strict=True):
        fused = fusable(part, weights)
        kept = (_fused if fused else _plain)(part, weights, biases, activation)[0]
        slopes = _slopes([k[: len(part)] for k in kept], activation)
        ordered = slopes if from_input else slopes[::-1]
        for result, *here in zip(found.split(chunk), *(s.split(chunk) for s in ordered), strict=True):
            # Chunks cut short come in many sizes, each of which oneDNN would have to prepare for.
            _chain_into(result, factors, here, buffers, fused=fused and len(result) == chunk)
    return out


def _chain_into(
    result: Tensor, factors: Sequence[Tensor], slopes: Sequence[Tensor], buffers: Tensor, *, fused: bool
) -> None:
    n, height = len(result), len(factors[0])
    product, last = factors[0], len(slopes) - 1
    for i, (slope, factor) in enumerate(zip(slopes, factors[1:], strict=True)):
        scaled = buffers[0, : n * height * len(factor)].view(n, height, -1)
        torch.mul(product, slope, out=scaled)
        if fused:
            product = _onednn(scaled.view(n * height, -1), factor.t()).view(n, height, -1)
            continue
        width = factor.shape[1]
        product = result if i == last else buffers[1, : n * height * width].view(n, height, width)
        torch.mm(scaled.view(n * height, -1), factor, out=product.view(n * height, -1))
    if fused:
        result.copy_(product)
