"""Fate probabilities of cells from noisy continuations of their own states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._integrate import integrate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._differentiation import Differentiation
    from ._network import Network

_ROUNDS = 6
# Coarser than that of a cell's own run: of regulators alone, transcription changes little within a step.
_STEP = 0.25
_HELD = 0.5


def fate_probability(
    kind: Differentiation, network: Network, state: NDArray[np.float64], *, n_futures: int, noise: float, seed: int
) -> NDArray[np.float64]:
    """Share of every fate, shape (cells, fates), among the decided ones of `n_futures` continuations of each cell.

    A continuation ends when one master holds and its rivals are off, at the latest after the duration of the run.
    A cell of which all stay undecided is given equal shares.
    """
    genes = network.upstream(kind.contestants)
    deciders = network.subnetwork(genes)
    # Without noise every continuation is the same.
    repeats = n_futures if noise > 0 else 1
    end = _continue(kind, deciders, np.repeat(state[:, :, genes], repeats, axis=0), noise, np.random.default_rng(seed))
    fate = kind.fates(deciders, end).reshape(len(state), repeats)
    number = np.stack([(fate == name).sum(axis=1) for name in kind.masters], axis=1)
    total = number.sum(axis=1, keepdims=True)
    return np.where(total > 0, number / np.maximum(total, 1), 1 / len(kind.masters))


def _continue(
    kind: Differentiation, deciders: Network, state: NDArray[np.float64], noise: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    left = np.arange(len(state))
    for _ in range(_ROUNDS):
        state[left] = integrate(deciders, state[left], kind.duration / _ROUNDS, noise=noise, step=_STEP, rng=rng)
        left = left[~_held(kind, deciders, state[left])]
    return state


def _held(kind: Differentiation, deciders: Network, state: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a master is half on and no rival has a quarter of its level."""
    masters = kind.levels(deciders, state, kind.masters.values())
    top = np.sort(kind.levels(deciders, state, kind.contestants), axis=1)
    return (masters.max(axis=1) > _HELD) & (top[:, -1] == masters.max(axis=1)) & (top[:, -2] < 0.25 * top[:, -1])
