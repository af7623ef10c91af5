"""Where cells come to rest: fixed points and limit cycles of the fitted field, with their basins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._write import written
from scnode.data import Support, evenly
from scnode.model import stored_model, stored_result
from scnode.tl._control import chosen_control
from scnode.tl._outcomes import labels_of

if TYPE_CHECKING:
    import torch
    from anndata import AnnData

    from scnode.model import LatentODE
    from scnode.nn import Field

_CYCLE_STARTS = 32
# A basin's end must be this near to an attractor, relative to the spread of the cells.
_ARRIVED = 0.02
# Cells leave a saddle, so that few are near it: up to twice the distance that is usual among cells is allowed.
_EXCESS = 1.0


def fixed_points(
    adata: AnnData,
    *,
    groupby: str | None = None,
    t: float = 20.0,
    n_starts: int = 500,
    control: Mapping[str, float | str] | None = None,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Find the states at which the field stands still, and the orbits on which it goes round.

    Newton's method starts from cells and from where the flow takes them, in the full latent space, in double
    precision: :math:`f(z^*) = 0`. The eigenvalues of the Jacobian there say what they are: attractors (stable nodes
    and foci), saddles, or repellers. Only those near cells are kept. Cells that come to none of them are followed
    on, and limit cycles found by their return map (:func:`scnode.ode.limit_cycles`). The basin of an attractor is the
    share of the cells that flow to it.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit`.
    groupby
        `obs` column that names the nearest cells, by default the one of the last :func:`scnode.tl.fate`.
    t
        How long cells are followed, in units of the clock: many times the slowest approach.
    n_starts
        Cells to start from, evenly taken from all.
    control
        Of a field that was fitted with `control_key`, the constant level of each column.
    key_added, copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``uns["scnode"]["fixed_points"]``: `position` (point, latent), `eigenvalues` (point, 2 latent; real
        parts in falling order, then their imaginary parts; 1 per unit of the clock), `kind`, `group` (that of most of
        the 15 nearest cells), `basin`, the share of the start cells that end there, `excess`, how much farther it is
        from its nearest cells than 99 % of the cells are from theirs (0 among the cells, below 1), `orbit` (cycle,
        200, latent), `period` in units of the clock, `orbit_group`, the groups that an orbit passes in turn,
        `orbit_basin`, `unresolved`, the share that came to neither, and `off_cells`, how many points were left out for
        lying farther off. :func:`scnode.get.fixed_points` is the table.

    Raises
    ------
    ScnodeError
        No fitted model, a field that depends on time, an unknown column, a time or number of starts that is not
        positive, or no constant input for a field that takes one.

    References
    ----------
    :cite:p:`Strogatz2015`, :cite:p:`Kelley1998`
    """
    keys = Keys(key_added)
    model = stored_model(adata, key_added)
    with stored_result(adata, keys.uns, "fate", by="scnode.tl.fate(adata, groupby=)") as last:
        column = groupby or (last or {}).get("groupby")
    groups = np.full(adata.n_obs, "") if column is None else labels_of(adata, column)
    if model.field.time_dependent:
        raise ScnodeError(
            "A field that depends on time stands still nowhere for good. Fit without time_dependent=True."
        )
    if not t > 0 or n_starts < 1:
        raise ScnodeError(f"t={t} must be positive and n_starts={n_starts} at least 1. Leave them out.")
    latent = np.asarray(adata.obsm[keys.latent], dtype=float)
    rows = evenly(len(latent), n_starts)
    field = _field(adata, model, control)
    record = _search(field, latent, rows, float(t), groups)
    with written(adata, copy=copy) as result:
        result.uns[keys.uns] = {**result.uns[keys.uns], "fixed_points": record}
    return result if copy else None


def _field(adata: AnnData, model: LatentODE, control: Mapping[str, float | str] | None) -> Field:
    """The field in double precision, under one input where it takes one."""
    import torch

    missing = [] if model.controls is None else [key for key in model.controls.keys if key not in (control or {})]
    if missing:
        raise ScnodeError(
            f"The field is under {missing}, and stands still at other states for each level. Pass control=."
        )
    level = chosen_control(adata, model, np.arange(1), control)
    return model.double().under(level if level is None else torch.as_tensor(level).reshape(-1))


def _search(field: Field, latent: np.ndarray, rows: np.ndarray, t: float, groups: np.ndarray) -> dict[str, Any]:
    import torch

    from scnode import ode

    cells, support = torch.from_numpy(latent[rows]), Support(latent)
    with torch.no_grad():
        ends = ode.solve(field.mean, cells, torch.tensor([0.0, t]).double(), rtol=1e-5, on_failure="return").ys[:, -1]
    ends = torch.where(torch.isfinite(ends).all(1, keepdim=True), ends, cells)
    found = ode.fixed_points(field.mean, torch.cat([ends, cells]), jacobian=field.jacobian)
    excess = support.excess(support.nearest(found.position.numpy())[0])
    among = excess < _EXCESS
    position, values = found.position.numpy()[among], found.eigenvalues.numpy()[among]
    kind = np.array(found.kind, dtype=str)[among]
    spread = float((cells - cells.mean(0)).norm(dim=1).mean())
    which = _basins(ends.numpy(), position, np.char.startswith(kind, "stable"), _ARRIVED * spread)
    share = np.bincount(which[which >= 0], minlength=len(position)) / len(rows)
    points = {
        "position": position,
        "eigenvalues": np.concatenate([values.real, values.imag], axis=1),
        "kind": kind,
        "group": _nearest_group(position, support, groups),
        "basin": share,
        "excess": excess[among],
        "off_cells": int((~among).sum()),
    }
    return points | _orbits(field, ends[torch.from_numpy(which < 0)], support, groups, t, of=len(rows))


def _basins(ends: np.ndarray, position: np.ndarray, stable: np.ndarray, near: float) -> np.ndarray:
    """Number of the attractor that each end has come to, -1 for none."""
    from scipy.spatial import KDTree

    if not stable.any():
        return np.full(len(ends), -1)
    distance, nearest = KDTree(position[stable]).query(ends)
    return np.where(distance < near, np.flatnonzero(stable)[nearest], -1)


def _orbits(
    field: Field, moving: torch.Tensor, support: Support, groups: np.ndarray, t: float, *, of: int
) -> dict[str, Any]:
    """Limit cycles among the cells, from the ends that have not come to rest, with their share of all starts."""
    import torch

    from scnode import ode

    chosen = torch.linspace(0, len(moving) - 1, min(len(moving), _CYCLE_STARTS)).round().long()
    found = ode.limit_cycles(field.mean, moving[chosen], t)
    orbit = found.orbit.numpy()
    among = np.array([support.misses(states).mean() < 0.5 for states in orbit], dtype=bool)
    each = len(moving) / of / max(1, len(chosen))
    share = each * np.bincount(found.which[found.which >= 0].numpy(), minlength=len(orbit))[among]
    passed = [_in_turn(_nearest_group(states, support, groups)) for states in orbit[among]]
    return {
        "orbit": orbit[among],
        "period": found.period.numpy()[among],
        "orbit_group": np.array(passed, dtype=str),
        "orbit_basin": share,
        "unresolved": float(len(moving) / of - share.sum()),
    }


def _nearest_group(states: np.ndarray, support: Support, groups: np.ndarray) -> np.ndarray:
    """Group of most of the 15 cells nearest to each state."""
    if not len(states):
        return np.empty(0, dtype=str)
    names, codes = np.unique(groups, return_inverse=True)
    near = codes[support.nearest(states)[1]]
    return names[np.stack([(near == k).sum(1) for k in range(len(names))]).argmax(0)]


def _in_turn(groups: np.ndarray) -> str:
    """Groups in the order in which an orbit passes them, each once."""
    return " > ".join(dict.fromkeys(groups))
