"""What a stoichiometric matrix conserves, in exact arithmetic where its entries are rational."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LARGEST_DENOMINATOR = 1000
_LARGEST_INTEGER = 1 << 24
"""Up to here single precision holds every integer."""

_MOST_RAYS = 2000
"""Semi-positive combinations beyond which a network's signs are no longer sought."""

Row = tuple[int, ...]


def whole_columns(S: np.ndarray) -> np.ndarray | None:
    """Every column times its least common denominator, None where an entry is no fraction of small numbers."""
    columns = []
    for column in S.T:
        parts = [Fraction(float(x)).limit_denominator(_LARGEST_DENOMINATOR) for x in column]
        if any(abs(float(p) - x) > 1e-12 * max(1.0, abs(x)) for p, x in zip(parts, column, strict=True)):
            return None
        factor = math.lcm(*(p.denominator for p in parts))
        columns.append([int(p * factor) for p in parts])
    whole = np.array(columns, dtype=object).T
    return None if max(abs(x) for x in whole.flat) > _LARGEST_INTEGER else whole.astype(np.float64)


def left_null_space(S: np.ndarray) -> np.ndarray:
    r"""Basis of :math:`\{w : w^\top S = 0\}`, shape (quantity, species).

    Of an integer matrix its rows are integers without a common divisor: first the semi-positive ones of least support,
    which are the totals of conserved moieties (:cite:p:`Schuster1991`), then what they leave. Of any other matrix they
    are orthonormal, by singular values.
    """
    if np.array_equal(S, np.round(S)):
        rows = [tuple(int(x) for x in row) for row in S]
        spanning = [*_moieties(rows), *_kernel(rows)]
        basis = [spanning[i] for i in _reduced(spanning)[2]]
        return np.array(basis, dtype=np.float64).reshape(-1, len(S))
    left, values, _ = np.linalg.svd(S)
    rank = int((values > values.max() * max(S.shape) * np.finfo(np.float32).eps).sum())
    return np.ascontiguousarray(left[:, rank:].T)


def _moieties(rows: list[Row]) -> list[Row]:
    """Extreme semi-positive conserved quantities, fewest species first, by Farkas' elimination of the reactions."""
    n = len(rows)
    table = [(row, tuple(int(i == j) for j in range(n))) for i, row in enumerate(rows)]
    for j in range(len(rows[0])):
        kept = [pair for pair in table if pair[0][j] == 0]
        gains, losses = ([p for p in table if sign * p[0][j] > 0] for sign in (1, -1))
        if len(kept) + len(gains) * len(losses) > _MOST_RAYS:
            return []
        table = _extreme(kept + [_cancel(a, b, j) for a in gains for b in losses])
    return sorted((w for _, w in table), key=lambda w: (sum(map(bool, w)), sum(w), tuple(-x for x in w)))


def _cancel(gain: tuple[Row, Row], loss: tuple[Row, Row], j: int) -> tuple[Row, Row]:
    up, down = -loss[0][j], gain[0][j]
    pair = [[up * a + down * b for a, b in zip(*sides, strict=True)] for sides in zip(gain, loss, strict=True)]
    divisor = math.gcd(*pair[0], *pair[1])
    return tuple(x // divisor for x in pair[0]), tuple(x // divisor for x in pair[1])


def _extreme(table: list[tuple[Row, Row]]) -> list[tuple[Row, Row]]:
    """Those whose species hold no other's as a proper part, each once."""
    unique = {frozenset(i for i, x in enumerate(w) if x): (left, w) for left, w in table}
    return [pair for support, pair in unique.items() if not any(other < support for other in unique)]


def _kernel(rows: list[Row]) -> list[Row]:
    """Integer basis of the left null space, by elimination in fractions."""
    equations, pivots, _ = _reduced(list(zip(*rows, strict=True)))
    basis = []
    for free in (i for i in range(len(rows)) if i not in pivots):
        w = [Fraction(int(i == free)) for i in range(len(rows))]
        for equation, pivot in zip(equations, pivots, strict=True):
            w[pivot] = -equation[free]
        basis.append(_whole(w))
    return basis


def _reduced(rows: Iterable[Sequence[int]]) -> tuple[list[list[Fraction]], list[int], list[int]]:
    """Reduced row echelon form without its zero rows, the pivot columns, and which rows those before do not span."""
    done: list[list[Fraction]] = []
    pivots: list[int] = []
    kept: list[int] = []
    for number, row in enumerate(rows):
        rest = [Fraction(x) for x in row]
        for other, pivot in zip(done, pivots, strict=True):
            rest = _less(rest, other, rest[pivot])
        lead = next((i for i, x in enumerate(rest) if x), None)
        if lead is None:
            continue
        rest = [x / rest[lead] for x in rest]
        done = [*(_less(other, rest, other[lead]) for other in done), rest]
        pivots.append(lead)
        kept.append(number)
    return done, pivots, kept


def _less(row: list[Fraction], other: list[Fraction], factor: Fraction) -> list[Fraction]:
    return [a - factor * b for a, b in zip(row, other, strict=True)] if factor else row


def _whole(w: Sequence[Fraction]) -> Row:
    """Integers without a common divisor, the first of them positive."""
    factor = math.lcm(*(x.denominator for x in w))
    numbers = [int(x * factor) for x in w]
    divisor = math.gcd(*numbers)
    sign = 1 if next(x for x in numbers if x) > 0 else -1
    return tuple(sign * x // divisor for x in numbers)
