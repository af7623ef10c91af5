"""Agreement of directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._random import random_source

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def cosine(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    r"""Cosine :math:`a_i\cdot b_i / (\|a_i\|\,\|b_i\|)` of the rows of two arrays; NaN where a row is zero.

    Parameters
    ----------
    a, b
        Vectors, shape (cell, dimension).

    Returns
    -------
    numpy.ndarray
        Shape (cell,).
    """
    left, right = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    norm = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.divide((left * right).sum(1), norm, out=np.full(len(left), np.nan), where=norm > 0)


def bootstrap_mean(
    values: ArrayLike, *, level: float = 0.95, n_resamples: int = 1000, rng: int | np.random.Generator | None = 0
) -> tuple[float, float, float]:
    """Mean of finite values with its percentile bootstrap interval.

    Parameters
    ----------
    values
        Sample, shape (n,); NaN are left out.
    level
        Coverage of the interval.
    n_resamples
        Number of bootstrap samples.
    rng
        Source of randomness.

    Returns
    -------
    tuple
        Mean, lower and upper bound; NaN for an empty sample.
    """
    sample = np.asarray(values, dtype=float)
    sample = sample[np.isfinite(sample)]
    if not len(sample):
        return float("nan"), float("nan"), float("nan")
    picks = random_source(rng).integers(len(sample), size=(n_resamples, len(sample)))
    low, high = np.quantile(sample[picks].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(sample.mean()), float(low), float(high)
