"""Randomness of torch that goes to other processes."""

from __future__ import annotations

from typing import Any

import torch


class Generator(torch.Generator):
    """A generator on the CPU that new processes can read: torch's own sends them a tensor that is gone by then."""

    def __reduce__(self) -> Any:
        """By its state in bytes."""
        return _restored, (self.get_state().numpy().tobytes(),)


def _restored(state: bytes) -> Generator:
    generator = Generator()
    generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    return generator
