"""The stiff work: each problem for torch, jax and one cell of numpy, with its Jacobian and its initial states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from _work import layers
from torch import Tensor, nn


@dataclass(frozen=True)
class Problem:
    """`torch` and `jacobian` take (t, y) of a batch; `numpy`, `numpy_jacobian` (t, y) of one cell; `jax` a cell's y."""

    name: str
    end: float
    y0: Tensor
    scale: float  # atol over rtol
    torch: Callable[[Tensor, Tensor], Tensor]
    jacobian: Callable[[Tensor, Tensor], Tensor]
    numpy: Callable[[float, np.ndarray], np.ndarray]
    numpy_jacobian: Callable[[float, np.ndarray], np.ndarray]
    jax: Callable[[Any], Any]
    first_step: float | None = None  # for a solver whose own guess leads nowhere

    @property
    def ts(self) -> Tensor:
        return torch.tensor([0.0, self.end], dtype=torch.float64)


def problems(n_cells: int = 256) -> list[Problem]:
    return [lin_mlp(n_cells, 1e4), robertson(n_cells), hires(n_cells), van_der_pol(n_cells)]


class LinMLP(nn.Module):
    """A y + MLP(y): relaxation at rates spread over `ratio`, and a gentle nonlinearity."""

    def __init__(self, ratio: float, n_latent: int = 20, width: int = 64, *, seed: int = 0) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        basis = np.linalg.qr(rng.standard_normal((n_latent, n_latent)))[0]
        self.A = nn.Parameter(torch.from_numpy(-basis @ np.diag(np.geomspace(1.0, ratio, n_latent)) @ basis.T))
        drawn = layers((n_latent, width, n_latent), gain=2.0, seed=seed)
        (first, bias), (second, offset) = ((torch.from_numpy(w), torch.from_numpy(b)) for w, b in drawn)
        self.first, self.bias = nn.Parameter(first), nn.Parameter(bias)
        self.second, self.offset = nn.Parameter(second), nn.Parameter(offset)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        hidden = torch.tanh(torch.addmm(self.bias, y, self.first.T))
        return torch.addmm(y @ self.A.T + self.offset, hidden, self.second.T)

    def jacobian(self, t: Tensor, y: Tensor) -> Tensor:
        slope = 1 - torch.tanh(torch.addmm(self.bias, y, self.first.T)).square()
        return self.A + (self.second * slope.unsqueeze(1)) @ self.first

    def arrays(self) -> list[np.ndarray]:
        return [p.detach().numpy() for p in (self.A, self.first, self.bias, self.second, self.offset)]


def uniform(n_cells: int, *ranges: tuple[float, float]) -> Tensor:
    rng = np.random.default_rng(3)
    return torch.from_numpy(np.stack([rng.uniform(low, high, n_cells) for low, high in ranges], axis=1))


def lin_mlp(n_cells: int, ratio: float) -> Problem:
    field = LinMLP(ratio)
    A, first, bias, second, offset = field.arrays()

    def value(t: float, y: np.ndarray) -> np.ndarray:
        return A @ y + second @ np.tanh(first @ y + bias) + offset

    def jacobian(t: float, y: np.ndarray) -> np.ndarray:
        return A + (second * (1 - np.tanh(first @ y + bias) ** 2)) @ first

    def in_jax(y: Any) -> Any:
        import jax.numpy as jnp

        return A @ y + second @ jnp.tanh(first @ y + bias) + offset

    y0 = torch.from_numpy(np.random.default_rng(4).standard_normal((n_cells, len(A))))
    name = f"linear + network, ratio {ratio:.0e}"
    return Problem(name, 1.0, y0, 1e-3, field, field.jacobian, value, jacobian, in_jax)


def robertson(n_cells: int) -> Problem:
    def terms(a: Any, b: Any, c: Any) -> tuple[Any, ...]:
        slow, fast = 0.04 * a - 1e4 * b * c, 3e7 * b * b
        return -slow, slow - fast, fast

    def entries(a: Any, b: Any, c: Any) -> tuple[tuple[Any, ...], ...]:
        zero, fast = 0 * a, 6e7 * b
        first, second, third = zero - 0.04, 1e4 * c, 1e4 * b
        return (first, second, third), (-first, -second - fast, -third), (zero, fast, zero)

    y0 = uniform(n_cells, (0.5, 1.5), (0.0, 0.0), (0.0, 0.2))
    return Componentwise(terms, entries).quadratic("Robertson", 1e4, y0, 1e-6)


def hires(n_cells: int) -> Problem:
    def terms(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> tuple[Any, ...]:  # noqa: PLR0917
        r = 280 * f * h
        return (
            -1.71 * a + 0.43 * b + 8.32 * c + 0.0007,
            1.71 * a - 8.75 * b,
            -10.03 * c + 0.43 * d + 0.035 * e,
            8.32 * b + 1.71 * c - 1.12 * d,
            -1.745 * e + 0.43 * f + 0.43 * g,
            -r + 0.69 * d + 1.71 * e - 0.43 * f + 0.69 * g,
            r - 1.81 * g,
            -r + 1.81 * g,
        )

    def entries(*y: Any) -> tuple[tuple[Any, ...], ...]:
        z = 0 * y[0]
        p, q = 280 * y[7], 280 * y[5]
        return (
            (z - 1.71, z + 0.43, z + 8.32, z, z, z, z, z),
            (z + 1.71, z - 8.75, z, z, z, z, z, z),
            (z, z, z - 10.03, z + 0.43, z + 0.035, z, z, z),
            (z, z + 8.32, z + 1.71, z - 1.12, z, z, z, z),
            (z, z, z, z, z - 1.745, z + 0.43, z + 0.43, z),
            (z, z, z, z + 0.69, z + 1.71, -p - 0.43, z + 0.69, -q),
            (z, z, z, z, z, p, z - 1.81, q),
            (z, z, z, z, z, -p, z + 1.81, -q),
        )

    y0 = uniform(n_cells, (0.5, 1.5), *[(0.0, 0.0)] * 6, (0.0028, 0.0114))
    return Componentwise(terms, entries).quadratic("HIRES", 321.8122, y0, 1e-4)


def van_der_pol(n_cells: int) -> Problem:
    def terms(a: Any, b: Any) -> tuple[Any, ...]:
        return b, ((1 - a * a) * b - a) * 1e6

    def entries(a: Any, b: Any) -> tuple[tuple[Any, ...], ...]:
        zero = 0 * a
        return (zero, zero + 1), ((-2 * a * b - 1) * 1e6, (1 - a * a) * 1e6)

    y0 = uniform(n_cells, (1.8, 2.2), (0.0, 0.0))
    whole = Componentwise(terms, entries).problem("van der Pol, mu 1e3", 2.0, y0, 1e-3)
    return replace(whole, first_step=1e-7)


@dataclass(frozen=True)
class Componentwise:
    """Rates and Jacobian entries written once, for tensors, traced arrays and plain floats alike."""

    terms: Callable[..., tuple[Any, ...]]
    entries: Callable[..., tuple[tuple[Any, ...], ...]]

    def problem(self, name: str, end: float, y0: Tensor, scale: float) -> Problem:
        return Problem(
            name,
            end,
            y0,
            scale,
            torch=lambda _, y: torch.stack(self.terms(*y.unbind(-1)), dim=-1),
            jacobian=self.jacobian,
            numpy=lambda _, y: np.array(self.terms(*y.tolist())),
            numpy_jacobian=lambda _, y: np.array(self.entries(*y.tolist())),
            jax=self.in_jax,
        )

    def quadratic(self, name: str, end: float, y0: Tensor, scale: float) -> Problem:
        """The same where no rate is of higher than second order: one matrix product in torch, as it is in scnode."""
        matrices = MassAction(self.terms, self.entries, y0.shape[1])
        whole = self.problem(name, end, y0, scale)
        return replace(whole, torch=matrices, jacobian=matrices.jacobian)

    def jacobian(self, t: Tensor, y: Tensor) -> Tensor:
        del t
        return torch.stack([torch.stack(row, dim=-1) for row in self.entries(*y.unbind(-1))], dim=-2)

    def in_jax(self, y: Any) -> Any:
        import jax.numpy as jnp

        return jnp.stack(self.terms(*y))


class MassAction:
    """Rates of at most second order, c + A y + V (products of two states), and their Jacobian, linear in y."""

    def __init__(self, terms: Callable[..., Any], entries: Callable[..., Any], n: int) -> None:
        linear = np.array(entries(*np.zeros(n)))
        curvature = np.stack([np.array(entries(*unit)) - linear for unit in np.eye(n)])
        pairs = [(i, j) for i in range(n) for j in range(i, n) if curvature[i, :, j].any()]
        weights = [curvature[i, :, j] * (0.5 if i == j else 1.0) for i, j in pairs]
        self.first, self.second = (torch.tensor(side) for side in zip(*pairs, strict=True))
        self.constant = torch.from_numpy(np.array(terms(*np.zeros(n))))
        self.matrix = torch.from_numpy(np.concatenate([linear.T, np.stack(weights)]))
        self.linear = torch.from_numpy(linear.ravel())
        self.curvature = torch.from_numpy(curvature.reshape(n, n * n))

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        del t
        return torch.addmm(self.constant, torch.cat([y, y[:, self.first] * y[:, self.second]], dim=1), self.matrix)

    def jacobian(self, t: Tensor, y: Tensor) -> Tensor:
        del t
        return torch.addmm(self.linear, y, self.curvature).unflatten(1, (y.shape[1], -1))
