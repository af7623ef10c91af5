r"""The noise stage: a diffusion beside the drift, :math:`dz = f(z)\,dt + G_\phi(z)\,dW`."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from scnode import ode
from scnode._errors import SolverError
from scnode._rows import at_rows
from scnode.nn import side_by_side
from scnode.train._losses import LossTerms, paired_energy
from scnode.train._module import CellData, FieldModule
from scnode.train._stage import Fitted, note, run_stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from scnode.nn import Diffusion, Field
    from scnode.train._courses import Course
    from scnode.train._module import Batch

# Of a window between snapshots: the method is of weak order 2.
_STEPS = 8
_FASTER = 3.0


@dataclass(frozen=True)
class NoiseTerms:
    """Loss of one batch.

    Parameters
    ----------
    likelihood
        Negative log-likelihood of the walks.
    drift
        Losses of the drift, with the snapshots carried by drift and noise; None where the drift stays as it is.
    """

    likelihood: Tensor
    drift: LossTerms | None = None

    @property
    def total(self) -> Tensor:
        """Sum of both."""
        return self.likelihood if self.drift is None else self.likelihood + self.drift.total


class NoiseModule(FieldModule):
    """The diffusion on walks; with snapshots, drift and diffusion on both."""

    def __init__(
        self,
        field: Field,
        diffusion: Diffusion,
        *,
        lr: float,
        local: float,
        solve_options: dict[str, Any] | None,
        generator: torch.Generator,
        courses: Sequence[Course] = (),
        restore: bool = True,
    ) -> None:
        rest: dict[str, Any] = {"courses": courses, "restore": restore}
        super().__init__(field, lr=lr, local=local, solve_options=solve_options, **rest)
        self.diffusion, self.generator = diffusion, generator
        self.seed = generator.initial_seed()

    def terms(self, batch: Batch) -> NoiseTerms:  # type: ignore[override]
        """Losses of a batch."""
        likelihood = walk_loss(self.diffusion, batch["states"][:, 0], batch["strayed"], batch["lasted"])
        return NoiseTerms(likelihood, None if self.solve_options is None else super().terms(batch))

    def _carried(self, field: Field, snapshot: Tensor, window: Tensor, **cells: Any) -> Tensor:
        # The same noise at every validation: epochs are compared with each other.
        generator = self.generator if self.training else torch.Generator().manual_seed(self.seed)
        return noisy_snapshot_loss(field, self.diffusion, snapshot, window, **cells, generator=generator)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What a resumed fit needs beyond the weights."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["noise_generator"] = self.generator.get_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        super().on_load_checkpoint(checkpoint)
        self.generator.set_state(checkpoint["noise_generator"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; without snapshots for the diffusion alone."""
        groups = [{"params": list(self.diffusion.parameters()), "lr": _FASTER * self.lr}]
        if self.solve_options is not None:
            groups.append({"params": list(self.field.parameters()), "lr": self.lr})
        return torch.optim.AdamW(groups, weight_decay=1e-3)


def walk_loss(diffusion: Diffusion, states: Tensor, strayed: Tensor, lasted: Tensor) -> Tensor:
    r"""Negative log-likelihood of walks :math:`\Delta z \sim N(f\,t, G^2 t)`, each counted by its duration.

    :math:`\sum_{i,k} \big(r_{ik}^2 / G_k^2(z_i) + t_i \ln G_k^2(z_i)\big) / \sum_{i,k} t_i`, least where
    :math:`G^2 = \sum r^2 / \sum t`: short walks, which are all geometry of the cells, count little.

    Parameters
    ----------
    diffusion
        :math:`G`.
    states
        Starts of the walks, shape (cell, latent).
    strayed
        Squared deviation :math:`r^2` from the drift, shape (cell, latent); 0 where a walk stopped.
    lasted
        Duration :math:`t`, shape (cell,); 0 where a walk stopped.
    """
    variance = diffusion(states.new_zeros(()), states).square() / diffusion.level.square()
    strayed = strayed / diffusion.level.square()
    total = (strayed / variance + lasted.unsqueeze(1) * variance.log()).sum()
    # A small last batch may hold dead ends only.
    return total / (lasted.sum() * states.shape[1]).clamp_min(1e-12)


def noisy_snapshot_loss(
    field: Field,
    diffusion: Diffusion,
    snapshot: Tensor,
    window: Tensor,
    states: Tensor,
    *,
    weight: Tensor,
    generator: torch.Generator,
    growth: Tensor | None = None,
) -> Tensor:
    """As :func:`scnode.train._losses.snapshot_loss`, each cell carried by drift and noise of its own."""
    m = len(weight)
    moving = window[:, 1] > window[:, 0]
    if not moving.any():
        return states.new_zeros(())
    found = ode.solve_sde(
        side_by_side(field, m),
        side_by_side(diffusion, m),
        states[moving].repeat(1, m),
        window[moving],
        step=float(window.diff(dim=1).max()) / _STEPS,
        generator=generator,
        on_failure="return",
    )
    arrived = found.ys[:, 0, -1].unflatten(1, (m, -1)).transpose(0, 1)
    return paired_energy(field, arrived, snapshot, window, states, moving=moving, weight=weight, growth=growth)


def strays(field: Field, paths: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    r"""Squared deviation of walks from the drift (cell, latent), and their durations (cell,); 0 for dead ends.

    :math:`r = z_K - z_0 - \sum_k \tfrac12 (f(z_k) + f(z_{k+1}))\,\Delta t_k` along walks over smoothed states.
    """
    with torch.no_grad():
        flat, clock = paths.flatten(0, 1), times.reshape(-1, 1)
        rows = torch.arange(len(paths), device=paths.device).repeat_interleave(paths.shape[1])
        velocity = at_rows(field, rows).mean(clock, flat).unflatten(0, paths.shape[:2])
    carried = (velocity[:, 1:] + velocity[:, :-1]) / 2 * times.diff(dim=1).unsqueeze(-1)
    stray = (paths[:, -1] - paths[:, 0] - carried.sum(1)).square()
    went_on = (paths.diff(dim=1) != 0).any(-1).all(1)
    return stray * went_on.unsqueeze(1), (times[:, -1] - times[:, 0]) * went_on


def start_noise(field: Field, diffusion: Diffusion, tensors: Batch) -> tuple[Tensor, Tensor]:
    """Set the diffusion to the one that suits all walks alike; return their deviations and durations."""
    under = field.under(tensors["latent_control"]) if field.n_controls else field
    strayed, lasted = strays(under, tensors["states"], tensors["times"])
    mean = strayed.sum() / (lasted.sum() * strayed.shape[1]).clamp_min(1e-12)
    least = 1e-6 * float(field.scale)
    diffusion.set_scales(center=field.center, scale=field.scale, level=mean.sqrt().clamp_min(least))
    return strayed, lasted


def fit_noise(
    field: Field,
    diffusion: Diffusion,
    data: CellData,
    *,
    lr: float,
    local: float,
    max_epochs: int,
    solve_options: dict[str, Any] | None,
    options: Mapping[str, Any],
    generator: torch.Generator,
    courses: Sequence[Course] = (),
    resume: Path | None = None,
    restore: bool = True,
) -> Fitted:
    """Fit the diffusion, and with `solve_options` the drift along with it, in place."""
    strayed, lasted = start_noise(field, diffusion, data.tensors)
    noisy = CellData(
        data.tensors | {"strayed": strayed, "lasted": lasted},
        train=data.train,
        validation=data.validation,
        batch_size=data.batch_size,
        generator=data.generator,
    )
    rest: dict[str, Any] = {"solve_options": solve_options, "courses": courses, "restore": restore}
    module = NoiseModule(field, diffusion, lr=lr, local=local, generator=generator, **rest)
    before, notes = copy.deepcopy(module.state_dict()), list[str]()
    try:
        marks = {"lr": lr, "batch_size": data.batch_size, **(solve_options or {})}
        found = run_stage(
            module, noisy, stage="noise", max_epochs=max_epochs, options=options, resume=resume, marks=marks
        )
    except (SolverError, KeyboardInterrupt) as error:
        module.load_state_dict(before)
        note(notes, f"The noise stage is left out, its diffusion the same everywhere: {error or 'interrupted'}")
        return Fitted([], notes)
    else:
        note(notes, *module.troubles("noise stage"))
        return Fitted(found.history, notes)
    finally:
        module.cpu()
