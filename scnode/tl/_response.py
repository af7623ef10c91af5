"""How decoded expression goes in either arm of a perturbation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scnode.model import LatentODE

_VALUES = 1 << 24


def responses(model: LatentODE, control: np.ndarray, perturbed: np.ndarray) -> dict[str, np.ndarray]:
    """Mean expression (step, gene) of both arms (start, member, step, latent), and the sd of its difference."""
    arms = [_mean_expression(model, paths) for paths in (control, perturbed)]
    return {
        "response_control": arms[0].mean(0),
        "response_perturbed": arms[1].mean(0),
        "response_sd": (arms[1] - arms[0]).std(0),
    }


def _mean_expression(model: LatentODE, paths: np.ndarray) -> np.ndarray:
    """Mean over the starts, (member, step, gene)."""
    import torch

    decoder, states = model.decoder, torch.as_tensor(paths)
    n = max(1, _VALUES // (states.shape[1] * states.shape[2] * len(decoder.mean)))
    with torch.no_grad():
        parts = [decoder.decode(part).sum(0) for part in states.split(n)]
    return (torch.stack(parts).sum(0) / len(states)).numpy()
