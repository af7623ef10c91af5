"""What both arms of a perturbation share: start cells, times, input and noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._random import torch_generator
from scnode.tl._cell_clock import cell_clock, own_times
from scnode.tl._control import chosen_control

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import Tensor

    from scnode._keys import Keys
    from scnode.model import LatentODE
    from scnode.nn import Regimen
    from scnode.nn._inputs import Input
    from scnode.ode import BrownianPath

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Experiment:
    """An experiment that is run without and with genes held.

    Parameters
    ----------
    model
        The fitted model.
    states
        Start of every cell, shape (start, latent).
    ts
        Times, shape (step,) or (start, step).
    horizon
        Their length.
    control
        What the cells are under, None where the field takes no input.
    noise
        Brownian paths of (member, start), None for none.
    holding
        Whether genes are held throughout, or moved at the start alone.
    """

    model: LatentODE
    states: Tensor
    ts: Tensor
    horizon: float
    control: Input | None
    noise: BrownianPath | None
    holding: bool

    def run(self, plan: Regimen | None = None) -> np.ndarray:
        """Trajectories (start, member, step, latent)."""
        import torch

        start, hold = self.states, plan
        if plan is not None and not self.holding:
            start, hold = plan.confine(start), None
        with torch.no_grad():
            paths = self.model.flow(start, self.ts, members=True, hold=hold, control=self.control, noise=self.noise)
        return paths.numpy()

    def repeated(self, cells: np.ndarray, n: int) -> Experiment:
        """The same of some of the cells, `n` times over, between the first and the last time."""
        import torch

        rows = torch.as_tensor(np.tile(cells, n))
        control = self.control
        if isinstance(control, torch.Tensor) and control.ndim == 2:
            control = control[rows]
        noise = self.noise
        if noise is not None:
            members = torch.arange(self.model.field.n_members)[:, None] * len(self.states)
            noise = noise.take((members + rows).flatten())
        ts = (self.ts if self.ts.ndim == 1 else self.ts[rows])[..., [0, -1]]
        return replace(self, states=self.states[rows], ts=ts, control=control, noise=noise)


def set_up(
    adata: AnnData,
    model: LatentODE,
    keys: Keys,
    rows: np.ndarray,
    *,
    elapsed: np.ndarray,
    noise: bool | None,
    rng: np.random.Generator,
    holding: bool,
) -> Experiment:
    """The experiment on some cells, over times since their start."""
    import torch

    states = torch.as_tensor(np.asarray(adata.obsm[keys.latent])[rows], dtype=torch.float32)
    ts = own_times(model, cell_clock(adata, model, keys)[rows], torch.as_tensor(elapsed, dtype=torch.float32))
    under, path = chosen_control(adata, model, rows, None), _path(model, len(rows), noise=noise, rng=rng)
    return Experiment(model, states, ts, float(elapsed[-1]), under, path, holding)


def departure(ts: Floats, control: np.ndarray, perturbed: np.ndarray) -> Floats:
    r"""Time at which the arms (start, member, step, latent) come apart, infinite where they never do.

    With the difference :math:`\delta` of the arms, :math:`\|\langle\delta(t) - \delta(0)\rangle\|` exceeds the
    disagreement of the ensemble, the larger root mean square deviation of the members in one of the arms, from this
    time on for the first time; what is done to the start itself, :math:`\delta(0)`, is no response. A thousandth of the
    spread of the states, the error of a solver, is the least that counts.
    """
    difference = (perturbed - control).astype(float)
    moved = np.linalg.norm((difference - difference[:, :, :1]).mean(1), axis=-1)
    apart = [np.sqrt(np.square(arm - arm.mean(1, keepdims=True)).sum(-1).mean(1)) for arm in (control, perturbed)]
    least = 1e-3 * np.sqrt(control[:, :, -1].reshape(-1, control.shape[-1]).astype(float).var(0).sum())
    over = moved - np.maximum(np.maximum(*apart), least)
    first = np.where((over > 0).any(1), (over > 0).argmax(1), 0)
    rows = np.arange(len(over))
    before, after = over[rows, first - 1], over[rows, first]
    share = before / np.where(before == after, 1.0, before - after)
    crossed = ts[first - 1] + share * (ts[first] - ts[first - 1])
    return np.where(first > 0, crossed, np.inf)


def difference_field(
    model: LatentODE, plan: Regimen, latent: np.ndarray, clock: Tensor, control: Tensor | None, *, holding: bool
) -> np.ndarray:
    """Velocity of every cell once its genes are held, less that without, (cell, latent); NaN where no state is so."""
    import torch

    number = next(k for k, hold in enumerate(plan.holds) if hold is not None)
    hold, at = plan.holds[number], torch.tensor([0.0, *plan.breaks.tolist()])[number]
    assert hold is not None
    states, moving = torch.as_tensor(latent, dtype=torch.float32), model.under(control).mean

    def field(t: Tensor, y: Tensor) -> Tensor:
        del t
        return moving(clock, y)

    with torch.no_grad():
        there, reached = hold.reach(states, at)
        held = (hold.wrap(field) if holding else field)(at, there)
        change = torch.where(reached[:, None], held - field(at, states), torch.nan)
    return change.numpy()


def _path(model: LatentODE, n_starts: int, *, noise: bool | None, rng: np.random.Generator) -> BrownianPath | None:
    """Brownian motions of (member, start), None without noise."""
    import torch

    from scnode import ode

    if not (model.diffusion is not None if noise is None else noise):
        return None
    if model.diffusion is None:
        raise ScnodeError("noise=True asks for a diffusion, and the model has none. Run scnode.tl.fit(noise=True).")
    generator = torch_generator(rng)
    n_paths = model.field.n_members * n_starts
    return ode.BrownianPath(n_paths, model.n_latent, generator=generator, dtype=torch.float32)
