"""Brownian motion over the steps of a stochastic solve."""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from scnode._errors import SolverError

if TYPE_CHECKING:
    from torch import Tensor

_SAME = 1e-12


class Increment(NamedTuple):
    """Brownian motion over one step, each of shape (path, noise)."""

    change: Tensor
    r""":math:`\Delta W = W(b) - W(a)`."""
    average: Tensor
    r""":math:`\frac{1}{b-a}\int_a^b (W(s) - W(a))\,ds`."""


class Fresh:
    """Increments drawn as the steps come, and forgotten.

    Parameters
    ----------
    generator
        Source of randomness.
    like
        Tensor whose shape, precision and device the increments have.
    """

    def __init__(self, generator: torch.Generator, like: Tensor) -> None:
        self.generator, self.like = generator, like

    def increment(self, start: Tensor, end: Tensor) -> Increment:
        """Over steps from `start` to `end`, scalars or of shape (path,)."""
        root = (end - start).sqrt().to(self.like)
        root = root.unsqueeze(-1) if root.ndim else root
        first, second = (normal(self.generator, self.like) for _ in range(2))
        return Increment(root * first, root / 2 * (first + second / math.sqrt(3)))


class BrownianPath:
    r"""Independent Brownian motions that are remembered, so that solves with other steps see the same ones.

    The pair of :math:`W` and :math:`\int W\,ds` is kept at every time asked for. A later time is drawn from the last
    one, a time between two known ones from the bridge: the normal law of the pair given both neighbours.

    Parameters
    ----------
    n_paths, n_noise
        Number of trajectories (cells times samples) and of noises of each (by default one a state).
    generator
        Source of randomness; by default a new one, seeded with 0.
    start
        Time at which :math:`W = 0`.
    dtype
        Precision in which the path is kept.

    Raises
    ------
    SolverError
        A size below 1.

    Examples
    --------
    >>> import torch
    >>> from scnode import ode
    >>> path = ode.BrownianPath(3, 2)
    >>> change = path.increment(0.0, 1.0).change
    >>> halves = path.increment(0.0, 0.5).change + path.increment(0.5, 1.0).change
    >>> torch.allclose(change, halves)
    True
    """

    def __init__(
        self,
        n_paths: int,
        n_noise: int,
        *,
        generator: torch.Generator | None = None,
        start: float = 0.0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        if n_paths < 1 or n_noise < 1:
            raise SolverError(f"BrownianPath({n_paths}, {n_noise}) needs sizes of at least 1. Pass positive integers.")
        self.generator = torch.Generator().manual_seed(0) if generator is None else generator
        zero = torch.zeros(n_paths, n_noise, dtype=dtype, device=self.generator.device)
        self._times, self._states = [float(start)], [torch.stack([zero, zero])]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of paths and of noises of each."""
        return self._states[0].shape[1], self._states[0].shape[2]

    def increment(self, start: float | Tensor, end: float | Tensor) -> Increment:
        """Over the interval from `start` to a later `end`, one for all paths."""
        a, b = float(start), float(end)
        (w, area), (w_end, area_end) = self._at(a), self._at(b)
        span = max(b - a, torch.finfo(torch.float64).tiny)
        return Increment(w_end - w, (area_end - area) / span - w)

    def take(self, rows: Tensor) -> BrownianPath:
        """The same motions of some of the paths (row,), which may repeat."""
        return _Taken(self, rows)

    def _at(self, time: float) -> Tensor:
        """W and its integral, shape (2, path, noise)."""
        # Multiples of steps differ by rounding, and no noise fits between such times.
        slack = _SAME * max(1.0, abs(time))
        place = bisect.bisect_left(self._times, time - slack)
        if place < len(self._times) and self._times[place] <= time + slack:
            return self._states[place]
        if place == 0:
            raise SolverError(f"The Brownian path starts at {self._times[0]}, after {time}. Pass start={time} to it.")
        state = self._later(time) if place == len(self._times) else self._between(place, time)
        self._times.insert(place, time)
        self._states.insert(place, state)
        return state

    def _later(self, time: float) -> Tensor:
        h, last = time - self._times[-1], self._states[-1]
        first, second = self._normals()
        root = math.sqrt(h)
        step = torch.stack([root * first, h * root / 2 * (first + second / math.sqrt(3))])
        return torch.stack([last[0], last[1] + h * last[0]]) + step

    def _between(self, place: int, time: float) -> Tensor:
        """Draw from the bridge, in units of the whole interval, where all numbers are of order one."""
        (u, v), (before, after) = self._times[place - 1 : place + 1], self._states[place - 1 : place + 1]
        whole = v - u
        unit = before.new_tensor([math.sqrt(whole), whole * math.sqrt(whole)])[:, None, None]
        left, right = (time - u) / whole, (v - time) / whole
        forward, back = _transition(left), _transition(right)
        # Precisions add: differences of covariances would lose their digits near either end.
        precision = _precision(left) + back.T @ _precision(right) @ back
        pull = _precision(left) @ forward, back.T @ _precision(right)
        covariance = torch.linalg.inv(precision)
        mean = sum(_apply(covariance @ p, x / unit) for p, x in zip(pull, (before, after), strict=True))
        draw = _apply(torch.linalg.cholesky(covariance), torch.stack(self._normals()))
        return (mean + draw) * unit

    def _normals(self) -> tuple[Tensor, Tensor]:
        return normal(self.generator, self._states[0][0]), normal(self.generator, self._states[0][0])


class _Taken(BrownianPath):
    """Some paths of another motion."""

    def __init__(self, whole: BrownianPath, rows: Tensor) -> None:
        self._whole, self._rows = whole, rows

    @property
    def shape(self) -> tuple[int, int]:
        """Number of paths and of noises of each."""
        return len(self._rows), self._whole.shape[1]

    def increment(self, start: float | Tensor, end: float | Tensor) -> Increment:
        """Over the interval from `start` to a later `end`."""
        return Increment(*(part[self._rows] for part in self._whole.increment(start, end)))


def normal(generator: torch.Generator, like: Tensor) -> Tensor:
    """Standard normal numbers of the shape, precision and device of a tensor."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=generator.device).to(like.device)


def _transition(h: float) -> Tensor:
    """How W and its integral go on without noise."""
    return torch.tensor([[1.0, 0.0], [h, 1.0]], dtype=torch.float64)


def _precision(h: float) -> Tensor:
    """Inverse covariance of what a time h adds to W and its integral."""
    return torch.tensor([[4 / h, -6 / h**2], [-6 / h**2, 12 / h**3]], dtype=torch.float64)


def _apply(matrix: Tensor, pair: Tensor) -> Tensor:
    return torch.einsum("ij,jpn->ipn", matrix.to(pair), pair)
