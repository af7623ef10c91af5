"""Fit an ensemble of fields to what has been gathered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scnode.data import Snapshots
    from scnode.model import LatentODE
    from scnode.tl._gather import Gathered
    from scnode.tl._space import FitSpace


def new_model(space: FitSpace, n_members: int, rng: np.random.Generator) -> LatentODE:
    import torch

    from scnode.model import LatentODE
    from scnode.nn import MLPField

    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    field = MLPField(space.latent.shape[1], n_members=n_members, generator=generator)
    known: dict[str, Any] = (
        {} if space.batches is None else {"batch_key": space.batches.key, "batches": space.batches.names}
    )
    return LatentODE(
        field, encoder=space.encoder, genes=space.genes, transform=space.transform, use_rep=space.use_rep, **known
    )


def train_field(
    model: LatentODE,
    space: FitSpace,
    gathered: Gathered,
    snapshots: Snapshots | None,
    *,
    rng: np.random.Generator,
    **options: Any,
) -> list[dict[str, Any]]:
    """Fit the model's field in place and return the history."""
    from scnode.data import draw_paths, surroundings
    from scnode.train import Examples, fit_field

    target, near = gathered.target, space.evidence.neighbors.first(30)
    index, times = draw_paths(space.latent, target.velocity, near, n_steps=3, rng=rng)
    smooth = near.mean(space.latent)
    # A walker that could not go on stays, and a solver's clock must not: the extra time is negligible.
    steps = np.maximum(np.diff(times, axis=1), 1e-4)
    times = np.concatenate([np.zeros((len(times), 1)), np.minimum(steps, np.quantile(steps, 0.95)).cumsum(1)], axis=1)
    around = surroundings(space.latent, target.velocity, rng=rng)
    examples = Examples(
        space.latent,
        target.velocity,
        target.precision,
        *around,
        smooth[index],
        times,
        **({} if snapshots is None else {"snapshot": snapshots.number, "snapshot_times": snapshots.times}),
    )
    return fit_field(model.field, examples, rng=rng, **options)
