"""How well the field predicts cells of a time that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._random import random_source
from scnode._settings import logger
from scnode._typing import RandomState
from scnode._validation import near
from scnode._write import written
from scnode.data import Arms, read_snapshots
from scnode.metrics import energy_distance, wasserstein
from scnode.metrics._wasserstein import require_pot
from scnode.model import stored_model
from scnode.tl._coverage import Scores, add_coverage, cloud_scores
from scnode.tl._fit import fit
from scnode.tl._held_out import HeldOut
from scnode.tl._species import same_reactions

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scnode.data import Snapshots

_FEWEST = 4
# Euler's method from one time to the next is the residual map.
_ONE_STEP = {"solver": "euler", "gradient": "backprop"}
_OWN = ("time_key", "holdout", "key_added", "rng", "copy")


def evaluate(
    adata: AnnData,
    *,
    time_key: str,
    holdout: float | Sequence[float] | None = None,
    params: Mapping[str, Any] | None = None,
    max_cells: int = 1000,
    n_splits: int = 3,
    discrete: bool = False,
    rng: RandomState = 0,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Predict the cells of held-out times and measure how far the prediction is from them.

    For each held-out time :math:`t` a model is fitted anew without its cells, so that neither the field nor the latent
    space knows them, and the cells :math:`x` of the last earlier time :math:`s` flow to :math:`t`. With
    :math:`\phi_s^t` the flow of the mean of the ensemble (one draw a cell, where it has noise), :math:`y` the cells of
    the next time :math:`u` that is kept, or, after the last one, :math:`x` and :math:`y` those of the two times before,
    these clouds are compared with the held-out cells:

    - ``scnode``: :math:`\phi_s^t(x) + \lambda\,(y - \phi_s^u(x))` for pairs drawn from the optimal plan between
      :math:`\phi_s^u(x)` and y, which are the interpolation below where the field is zero; after the last time the
      forecast;
    - ``scnode_forecast``: :math:`\phi_s^t(x)`, which knows nothing of y;
    - ``residual_map``, with `discrete`: :math:`x + (t - s)\,g(x)`, the same network fitted to the same evidence with
      the same draws, but as a :class:`scnode.nn.ResidualMap` of one step from each kept time to the next, so that t is
      reached by a fraction of a step;
    - ``no_motion``: :math:`x`;
    - ``ot_interpolation``: :math:`x + \lambda (y - x)` for pairs drawn from the optimal plan under the squared
      distance, with :math:`\lambda = (t - s)/(u - s)`, beyond 1 after the last time (:cite:p:`Schiebinger2019`);
    - ``noise_floor``: other cells of the held-out time, what a perfect prediction of this many cells scores.

    `coverage` is the share of held-out cells between the 5 % and the 95 % quantile of a cloud, mean over the five
    leading principal axes of the kept cells; `coverage_conformal` the same after these intervals are widened or
    narrowed (:cite:p:`Romano2019`) by the multiple of :math:`\sqrt{\sigma^2 + m^2}`, the cloud's standard deviation and
    how far its mean lies from that of x, that gives 90 % at other held-out times: between two times at the others that
    are; for the last time at these or, where that is more, at the time before it with both held out. It is NaN where
    there is none, and calibrated so far as one time is like the others, which an extrapolation seldom is.

    All clouds are of one size, as Wasserstein distances grow with fewer points: at most half of the held-out cells,
    which form the target in turn. Each figure is the mean over `n_splits` draws, in latent units. With `control_key` in
    the parameters all this holds within an arm, cells under the same input, with untreated cells for a start where it
    has none; figures are means over the arms by their numbers of held-out cells.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit`, whose parameters the new models are fitted with. Evidence that was made
        from all cells, such as a pseudotime, knows the held-out ones; collection times and velocities of the cells
        themselves do not.
    time_key
        `obs` column with the time of collection of each cell, numbers or labels such as "E15.5"; three times or more.
    holdout
        Times to hold out, in numbers, one model for each; by default all but the first.
    params
        Arguments of :func:`scnode.tl.fit` to use instead of those of the stored run.
    max_cells
        Largest size of a cloud.
    n_splits
        Number of draws.
    discrete
        Whether to fit the discrete model as well, which takes about as long again.
    rng
        Source of all randomness.
    key_added
        Name of the run whose parameters are used; its model stays as it is.
    copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``uns["scnode"]["evaluation"]``: `time_key`, and `table`, a DataFrame of `method`, `holdout`, `w1`, `w2`
        (:func:`scnode.metrics.wasserstein`), `energy` (:func:`scnode.metrics.energy_distance`) and `n_cells`, the
        size of the clouds, `coverage` and `coverage_conformal`; and `notes`. Of a last time they say whether the data
        support extrapolation: whether, with the last two times held out, the forecast of the earlier one is nearer to
        its cells than no motion is.

    Raises
    ------
    ScnodeError
        POT is not installed; no stored parameters; an unknown column, parameter or time; fewer than three times; the
        first one held out, or too few cells.
    SolverError
        A trajectory that could not be integrated.

    References
    ----------
    :cite:p:`Schiebinger2019`, :cite:p:`Tong2020`
    """
    import pandas as pd

    require_pot()
    keys = Keys(key_added)
    snapshots = read_snapshots(adata, time_key)
    days, times = snapshots.days, snapshots.kept
    held = _held_out(times, holdout, time_key)
    source = random_source(rng)
    options = _options(adata, keys, params, source)
    if max_cells < 2 or n_splits < 1:
        raise ScnodeError(
            f"max_cells={max_cells} must be at least 2 and n_splits={n_splits} at least 1. Leave them out."
        )
    _check_sizes(days, times, time_key)
    tables, notes = [], []
    scores: Scores = {}
    ahead: Scores = {}

    def score(time: float, *others: float) -> pd.DataFrame:
        logger.info("Holding out %s=%g.", time_key, time)
        asked = {**options, "time_key": time_key, "holdout": [time, *others], "key_added": DEFAULT, "copy": True}
        # Equal draws, so that both models differ in nothing but their steps.
        twin = deepcopy(source)
        fitted = fit(adata, **asked, rng=source)
        stepped = fit(adata, **(asked | _ONE_STEP), rng=twin) if discrete and not others else None
        parts, weights = [], []
        for own, control in _arms(fitted, snapshots, time, others):
            known: dict[str, Any] = {"max_cells": max_cells, "rng": source, "control": control, "discrete": stepped}
            clouds = HeldOut.of(fitted, own, time, others, **known)
            found = ahead if others else scores
            for key, values in cloud_scores(clouds, n_splits, source.spawn(1)[0]).items():
                found[key] = np.append(found.get(key, []), values)
            parts.append(_compare(clouds, n_splits=n_splits, rng=source))
            weights.append(len(clouds.target))
        return _mean(parts, weights)

    for time in held:
        tables.append(score(float(time)))
        if time == times[-1]:
            notes.append(_on_extrapolation(times, time_key, score))
            logger.info("%s", notes[-1])
    table = add_coverage(pd.concat(tables, ignore_index=True), scores, ahead, float(times[-1]), source.spawn(1)[0])
    with written(adata, copy=copy) as result:
        run = result.uns.get(keys.uns, {})
        result.uns[keys.uns] = {**run, "evaluation": {"time_key": time_key, "table": table, "notes": notes}}
    return result if copy else None


def _arms(
    fitted: AnnData, snapshots: Snapshots, time: float, others: Sequence[float]
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Of each arm that can be scored the days of its cells and of those that start it, NaN for others, and its input.

    There are cells of it at `time`, some before, and two times besides those held out.
    """
    controls = stored_model(fitted).controls
    if controls is None:
        yield snapshots.days, None
        return
    arms, found = Arms.of(controls.read(fitted)), False
    for arm, course in enumerate(arms.courses(snapshots)):
        days = np.full(len(snapshots.days), np.nan)
        for stop in course:
            days[arms.rows(snapshots, stop)] = snapshots.kept[stop[1]]
        kept = np.setdiff1d(days[np.isfinite(days)], [time, *others])
        if (days == time).sum() >= _FEWEST and len(kept) >= 2 and kept[0] < time:
            found = True
            yield days, arms.control[arm]
    if not found:
        raise ScnodeError(
            f"With {snapshots.key}={time:g} held out no arm of {controls.keys} has {_FEWEST} cells there, and cells at "
            "two other times. Pass holdout= with another."
        )


def _mean(parts: list[pd.DataFrame], weights: list[int]) -> pd.DataFrame:
    """Distances weighted over the arms; the sizes of their clouds add up."""
    if len(parts) == 1:
        return parts[0]
    mean, distances = parts[0].copy(), ["w1", "w2", "energy"]
    mean[distances] = np.average([part[distances] for part in parts], axis=0, weights=weights)
    mean["n_cells"] = sum(part["n_cells"] for part in parts)
    return mean


def _held_out(times: np.ndarray, holdout: float | Sequence[float] | None, time_key: str) -> np.ndarray:
    if len(times) < 3:
        raise ScnodeError(
            f"adata.obs[{time_key!r}] has the times {times.tolist()}, and with one of them held out a fit needs two. "
            "Pass time_key= with three or more."
        )
    if holdout is None:
        return times[1:]
    held = np.unique(np.atleast_1d(np.asarray(holdout, dtype=float)))
    unknown = np.setdiff1d(held, times)
    if len(unknown) or not len(held):
        raise ScnodeError(f"holdout={holdout!r}: the times of adata.obs[{time_key!r}] are {times.tolist()}. Pass such.")
    if held[0] == times[0]:
        raise ScnodeError(f"holdout={holdout!r}: no cells come before {times[0]:g}, the first time. Pass a later one.")
    return held


def _options(adata: AnnData, keys: Keys, params: Mapping[str, Any] | None, rng: np.random.Generator) -> dict[str, Any]:
    """Arguments of the new fits."""
    import inspect

    if params is None:
        field = stored_model(adata, keys.run).field
        # The name of a kind does not say which reactions there are.
        given = dict(adata.uns[keys.uns]["params"]) | same_reactions(field, rng)
    else:
        given = dict(params)
    known = set(inspect.signature(fit).parameters) - {"adata"}
    for name in given:
        if name not in known:
            raise ScnodeError(f"params= names {name!r}, no argument of scnode.tl.fit. {near(name, sorted(known))}")
    return {name: value for name, value in given.items() if name not in _OWN}


def _on_extrapolation(times: np.ndarray, time_key: str, score: Callable[..., pd.DataFrame]) -> str:
    """Whether a forecast of the last time but one, made without the last two, beats no motion."""
    if len(times) < 4:
        return f"{time_key} has {len(times)} times, too few to tell whether the data support extrapolation."
    before, last = (float(time) for time in times[-2:])
    energy = score(before, last).set_index("method")["energy"]
    if energy["scnode_forecast"] < energy["no_motion"]:
        return (
            f"Extrapolation beyond {time_key}={before:g} is supported: without the last two times, the forecast of "
            f"{before:g} is nearer to its cells than no motion is (energy distance {energy['scnode_forecast']:.3g} "
            f"against {energy['no_motion']:.3g})."
        )
    return (
        f"Extrapolation beyond {time_key}={before:g} is not supported by the data: without the last two times, the "
        f"forecast of {before:g} is no nearer to its cells than no motion is (energy distance "
        f"{energy['scnode_forecast']:.3g} against {energy['no_motion']:.3g})."
    )


def _check_sizes(days: np.ndarray, times: np.ndarray, time_key: str) -> None:
    for time in times:
        n = int((days == time).sum())
        if n < _FEWEST:
            raise ScnodeError(
                f"{time_key}={time:g} has {n} cells, too few for a cloud. Drop it: "
                f"adata = adata[adata.obs[{time_key!r}] != {time:g}].copy()."
            )


def _compare(held: HeldOut, *, n_splits: int, rng: np.random.Generator) -> pd.DataFrame:
    """One row a method: mean distances to the held-out cells over the splits."""
    import pandas as pd

    rows = []
    for _ in range(n_splits):
        target, clouds = held.draw(rng)
        for method, cloud in clouds.items():
            distances = {
                "w1": wasserstein(cloud, target, p=1),
                "w2": wasserstein(cloud, target, p=2),
                "energy": energy_distance(cloud, target),
            }
            rows.append({"method": method, "holdout": held.time, **distances, "n_cells": len(target)})
    return pd.DataFrame(rows).groupby(["method", "holdout"], sort=False, as_index=False).mean()
