"""Randomness flows from one source, for numpy and torch alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError

if TYPE_CHECKING:
    import torch

    from scnode._typing import RandomState


def random_source(rng: RandomState) -> np.random.Generator:
    """The generator that `rng=` names or is."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise ScnodeError(f"rng={rng!r} is no source of randomness. Pass a whole number of at least 0.") from error


def torch_generator(rng: np.random.Generator) -> torch.Generator:
    """A generator of torch, seeded by the next number of `rng`."""
    from scnode._generator import Generator

    return Generator().manual_seed(int(rng.integers(2**62)))
