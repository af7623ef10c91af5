"""Fields fitted anew without some of the cells, to see what a field is worth where it has seen none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scnode._random import torch_generator
from scnode._settings import settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scnode.nn import Field

    Floats = NDArray[np.float64]

_MAX_EPOCHS = 25
_MAX_MEMBERS = 2
_MAX_CELLS = 1500


def refit(
    field: Field,
    latent: Floats,
    velocity: Floats,
    clock: Floats,
    control: Floats | None = None,
    *,
    rng: np.random.Generator,
) -> Field:
    """A field of the same kind, regressed from nothing on velocities (cell, latent) at these states and times alone.

    A field that takes an input is fitted under that of each, `control` (cell, control).
    """
    from scnode.train import Examples, fit_field

    rows = rng.permutation(len(latent))[:_MAX_CELLS]
    latent, velocity, clock = latent[rows], velocity[rows], clock[rows]
    control = None if control is None else control[rows]
    generator = torch_generator(rng)
    fresh = field.fresh(n_members=min(field.n_members, _MAX_MEMBERS), generator=generator)
    in_time = field.time_dependent or control is not None
    velocity, outside, back = _taught(fresh, latent, velocity, in_time=in_time, rng=rng)
    examples = Examples(
        latent=latent,
        velocity=velocity,
        precision=np.ones(len(latent)),
        outside=outside,
        outside_velocity=back,
        clock=clock,
        outside_clock=clock,
        control=control,
        outside_control=control,
        # Regression alone: no path is followed.
        paths=latent[:, None],
        times=clock[:, None],
    )
    with settings.override(verbosity=0):
        fit_field(
            fresh,
            examples,
            max_epochs=_MAX_EPOCHS,
            batch_size=max(32, min(256, len(latent) // 8)),
            lr=5e-3,
            solve_options={},
            trainer_options={"accelerator": "cpu", "devices": 1},
            rng=rng,
            polish=False,
        )
    return fresh.eval()


def _taught(
    field: Field, latent: Floats, velocity: Floats, *, in_time: bool, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Velocities of the cells as this kind of field can have them, and states around them with theirs."""
    from scnode.data import Kinetics, surroundings
    from scnode.nn import RNAField

    if isinstance(field, RNAField):
        kinetics = Kinetics(*(rate.numpy().astype(float) for rate in (*field.rates, field.level)))
        return kinetics.obeyed(latent, velocity), *kinetics.around(latent, velocity, rng=rng)
    return velocity, *surroundings(latent, velocity, rng=rng, in_time=in_time)
