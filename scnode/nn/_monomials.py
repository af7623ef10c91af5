"""Monomials of a state, their derivatives, and what becomes of them when the state is scaled and shifted."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class Monomials(torch.nn.Module):
    r"""All products of at most `degree` of `n` coordinates, by degree: :math:`1, x_0, x_1, x_0^2, x_0 x_1, \ldots`.

    Parameters
    ----------
    n
        Number of coordinates.
    degree
        Highest degree.
    """

    parent: Tensor
    last: Tensor
    lower: Tensor
    upper: Tensor
    coordinate: Tensor
    power: Tensor

    def __init__(self, n: int, degree: int) -> None:
        super().__init__()
        self.n, self.degree = n, degree
        self.factors = [m for k in range(degree + 1) for m in itertools.combinations_with_replacement(range(n), k)]
        self.place = {m: i for i, m in enumerate(self.factors)}
        self.starts = [sum(len(m) < k for m in self.factors) for k in range(degree + 2)]
        # Each product is one of the degree below times its last factor.
        built = [(self.place[m[:-1]], m[-1]) for m in self.factors[1:]]
        # d/dx_l of x_l^p times others is p x_l^(p-1) times these.
        derived = [
            (self.place[_without(m, coordinate)], i, coordinate, power)
            for i, m in enumerate(self.factors)
            for coordinate, power in Counter(m).items()
        ]
        tables = [*zip(*built, strict=True), *zip(*derived, strict=True)]
        for name, values in zip(("parent", "last", "lower", "upper", "coordinate", "power"), tables, strict=True):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def __len__(self) -> int:
        return len(self.factors)

    def forward(self, x: Tensor) -> Tensor:
        """Values at states (..., n), shape (..., monomial)."""
        return self._values(x, self.degree)

    def slopes(self, x: Tensor, coefficients: Tensor) -> Tensor:
        r"""Jacobian at states (row, n) of the sum with `coefficients` (monomial, out), shape (row, out, n)."""
        n_lower, n_out = self.starts[self.degree], coefficients.shape[1]
        derivative = coefficients.new_zeros(n_lower, self.n, n_out)
        terms = coefficients[self.upper] * self.power.to(coefficients)[:, None]
        derivative = derivative.index_put((self.lower, self.coordinate), terms, accumulate=True)
        return (self._values(x, self.degree - 1) @ derivative.flatten(1)).unflatten(1, (self.n, n_out)).mT

    def substitution(self, scale: float, shift: Sequence[float]) -> Tensor:
        r"""Matrix T with :math:`\phi_i(s x + b) = \sum_j T_{ij} \phi_j(x)`, in double precision."""
        rows: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        for i, factors in enumerate(self.factors):
            for kept in itertools.product((True, False), repeat=len(factors)):
                value = 1.0
                for factor, keep in zip(factors, kept, strict=True):
                    value *= scale if keep else shift[factor]
                rows.append(i)
                columns.append(self.place[tuple(itertools.compress(factors, kept))])
                values.append(value)
        places = torch.tensor(rows), torch.tensor(columns)
        matrix = torch.zeros(len(self), len(self), dtype=torch.float64)
        return matrix.index_put(places, torch.tensor(values, dtype=torch.float64), accumulate=True)

    def names(self, coordinates: Sequence[str]) -> list[str]:
        """Every monomial as it is read: ``"1"``, ``"x"``, ``"x^2"``, ``"x y"``."""
        powers = [Counter(m).items() for m in self.factors]
        written = [" ".join(coordinates[c] + (f"^{p}" if p > 1 else "") for c, p in one) for one in powers]
        return [text or "1" for text in written]

    def _values(self, x: Tensor, degree: int) -> Tensor:
        values = x.new_ones(*x.shape[:-1], 1)
        for k in range(1, degree + 1):
            here = slice(self.starts[k] - 1, self.starts[k + 1] - 1)
            values = torch.cat((values, values[..., self.parent[here]] * x[..., self.last[here]]), -1)
        return values


def _without(factors: tuple[int, ...], coordinate: int) -> tuple[int, ...]:
    i = factors.index(coordinate)
    return factors[:i] + factors[i + 1 :]
