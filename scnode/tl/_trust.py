"""A stored calibration at work on new states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode.data import evenly
from scnode.model import stored_result
from scnode.tl._calibration import Calibration
from scnode.tl._cell_clock import own_times
from scnode.tl._control import control_of, values_along
from scnode.tl._parts import each_part
from scnode.tl._path_parts import Ground, path_parts

if TYPE_CHECKING:
    from anndata import AnnData
    from distributed import Client
    from numpy.typing import NDArray
    from torch import Tensor

    from scnode._keys import Keys
    from scnode.model import LatentODE

    Floats = NDArray[np.float64]

OOD = "ood"
_MOST_STEPS = 17
_N_AHEAD = 5
_NUMBERS = 2**19


@dataclass(frozen=True)
class Trust:
    """How far a model is to be believed.

    Parameters
    ----------
    model
        The fitted model.
    ground
        The cells that it was fitted to.
    calibration
        Of the score.
    horizon
        How far ahead a single state is judged, in units of the clock.
    """

    model: LatentODE
    ground: Ground
    calibration: Calibration
    horizon: float

    @classmethod
    def stored(cls, adata: AnnData, keys: Keys, model: LatentODE) -> Trust | None:
        """Of a run, None before :func:`scnode.tl.ood`."""
        with stored_result(adata, keys.uns, OOD, by="scnode.tl.ood(adata)") as stored:
            if stored is None:
                return None
            # By name, so that a part of the cells keeps what was said of each.
            table = stored["parts"].reindex(adata.obs_names.astype(str))
            known = np.isfinite(table["field_error"].to_numpy())
            if known.sum() < 2:
                return None
            latent = np.asarray(adata.obsm[keys.latent], dtype=float)[known]
            noise, field_error = (table[name].to_numpy()[known] for name in ("noise", "field_error"))
            ground = Ground(latent, noise, field_error, control_of(adata, model, known))
            return cls(model, ground, Calibration.read(stored["calibration"]), float(stored["horizon"]))

    def along(
        self, ts: Floats, paths: Floats, begin: Floats, control: Floats | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """`ood` and, of an ensemble, `radius` at every step of paths (start, sample, step, latent).

        `ts` (step,) are times since the start, at which the clock shows `begin` (start,); a field that takes an input
        is under `control` (start, step, control).
        """
        few, n = evenly(len(ts), _MOST_STEPS), paths.shape[1]
        flat = paths[..., few, :].reshape(-1, len(few), paths.shape[-1])
        under = None if control is None else control[:, few].repeat(n, axis=0)
        parts = path_parts(self.model.field, self.ground, ts[few], flat, begin.repeat(n), under)
        return {name: _between(ts[few], ts, v).reshape(paths.shape[:-1]) for name, v in self._judge(parts).items()}

    def ahead(
        self, states: Floats, begin: Floats, control: Tensor | None, *, client: Client | None = None
    ) -> tuple[dict[str, Floats], dict[str, NDArray[np.float32]]]:
        """Parts, and `ood` and `radius`, of the forecasts from states (cell, latent) at `begin` over the horizon."""
        import torch

        cells = [*(torch.as_tensor(a, dtype=torch.float32) for a in (states, begin)), control]
        size = max(1, _NUMBERS // (_N_AHEAD * states.shape[1]))
        told = each_part(_forecast, self, cells, size=size, client=client, name="Forecasts")
        parts = {name: np.concatenate([one[name] for one in told]) for name in told[0]}
        return parts, self._judge(parts)

    def _judge(self, parts: dict[str, Floats]) -> dict[str, NDArray[np.float32]]:
        judged = {OOD: self.calibration.score(parts).astype(np.float32)}
        if self.model.field.n_members > 1:
            judged["radius"] = self.calibration.reach(parts).astype(np.float32)
        return judged


def _forecast(trust: Trust, states: Tensor, begin: Tensor, control: Tensor | None) -> dict[str, Floats]:
    """Every part at the ends of the forecasts of some cells."""
    import torch

    ts, model = torch.linspace(0, trust.horizon, _N_AHEAD), trust.model
    with torch.no_grad():
        paths = model.flow(states, own_times(model, begin[:, None], ts), control=control)[:, 0]
    when, where, since = (values.numpy().astype(float) for values in (ts, paths, begin))
    parts = path_parts(model.field, trust.ground, when, where, since, values_along(control, when, len(states)))
    return {name: values[:, -1] for name, values in parts.items()}


def _between(few: Floats, ts: Floats, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values (path, few) at all times, linearly."""
    if len(few) == len(ts):
        return values
    right = np.searchsorted(few, ts).clip(1, len(few) - 1)
    share = (ts - few[right - 1]) / (few[right] - few[right - 1])
    return (values[:, right - 1] * (1 - share) + values[:, right] * share).astype(np.float32)


def judge_trajectories(trust: Trust | None, stored: dict[str, Any], begin: Floats) -> dict[str, Any]:
    """Trajectories from starts at `begin` (start,) with `ood` and `radius`, where there is a calibration."""
    if trust is None:
        return stored
    ts, paths = (np.asarray(stored[name], dtype=float) for name in ("t", "latent"))
    control = None if trust.model.controls is None else np.asarray(stored["control"], dtype=float)
    return {**stored, **trust.along(ts, paths, begin, control)}
