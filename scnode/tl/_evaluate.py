"""How well the field predicts cells of a time that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._settings import logger
from scnode._typing import RandomState
from scnode._validation import near
from scnode.data import read_snapshots
from scnode.metrics import energy_distance, wasserstein
from scnode.metrics._wasserstein import require_pot
from scnode.model import stored_model
from scnode.tl._coverage import Scores, add_coverage, cloud_scores
from scnode.tl._fit import fit
from scnode.tl._held_out import HeldOut

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_OWN = ("time_key", "holdout", "key_added", "rng", "copy")


def evaluate(
    adata: AnnData,
    *,
    time_key: str,
    holdout: float | Sequence[float] | None = None,
    params: Mapping[str, Any] | None = None,
    max_cells: int = 1000,
    n_splits: int = 3,
    rng: RandomState = 0,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Predict the cells of held-out times and measure how far the prediction is from them.

    For each held-out time :math:`t` a model is fitted anew without its cells, so that neither the field nor the latent
    space knows them, and the cells :math:`x` of the last earlier time :math:`s` flow to :math:`t`. With
    :math:`\phi_s^t` the flow of the mean of the ensemble, :math:`y` the cells of the next time :math:`u` that is kept,
    or, after the last one, :math:`x` and :math:`y` those of the two times before, these clouds are compared with the
    held-out cells:

    - ``scnode``: :math:`\phi_s^t(x) + \lambda\,(y - \phi_s^u(x))` for pairs drawn from the optimal plan between
      :math:`\phi_s^u(x)` and y, which are the interpolation below where the field is zero; after the last time the
      forecast;
    - ``scnode_forecast``: :math:`\phi_s^t(x)`, which knows nothing of y;
    - ``no_motion``: :math:`x`;
    - ``ot_interpolation``: :math:`x + \lambda (y - x)` for pairs drawn from the optimal plan under the squared
      distance, with :math:`\lambda = (t - s)/(u - s)`, beyond 1 after the last time (:cite:p:`Schiebinger2019`);
    - ``noise_floor``: other cells of the held-out time, what a perfect prediction of this many cells scores.

    `coverage` is the share of held-out cells between the 5 % and the 95 % quantile of a cloud, mean over the five
    leading principal axes of the kept cells; `coverage_conformal` the same after these intervals are widened or
    narrowed by the multiple of the cloud's standard deviation that gives 90 % at the other held-out times (NaN where
    there is none; :cite:p:`Romano2019`). It is calibrated so far as one time is like the others.

    All clouds are of one size, as Wasserstein distances grow with fewer points: at most half of the held-out cells,
    which form the target in turn. Each figure is the mean over `n_splits` draws, in latent units.

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
    options = _options(adata, keys, params)
    if max_cells < 2 or n_splits < 1:
        raise ScnodeError(
            f"max_cells={max_cells} must be at least 2 and n_splits={n_splits} at least 1. Leave them out."
        )
    _check_sizes(days, times, time_key)
    source = np.random.default_rng(rng)
    tables, notes = [], []
    scores: Scores = {}

    def score(time: float, *others: float) -> pd.DataFrame:
        logger.info("Holding out %s=%g.", time_key, time)
        fitted = fit(
            adata, **options, time_key=time_key, holdout=[time, *others], rng=source, key_added=DEFAULT, copy=True
        )
        clouds = HeldOut.of(fitted, days, time, others, max_cells=max_cells, rng=source)
        if not others:
            scores.update(cloud_scores(clouds, n_splits, source.spawn(1)[0]))
        return _compare(clouds, n_splits=n_splits, rng=source)

    for time in held:
        tables.append(score(float(time)))
        if time == times[-1]:
            notes.append(_on_extrapolation(times, time_key, score))
            logger.info("%s", notes[-1])
    result = adata.copy() if copy else adata
    table = add_coverage(pd.concat(tables, ignore_index=True), scores, source.spawn(1)[0])
    run = result.uns.get(keys.uns, {})
    result.uns[keys.uns] = {**run, "evaluation": {"time_key": time_key, "table": table, "notes": notes}}
    return result if copy else None


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


def _options(adata: AnnData, keys: Keys, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Arguments of the new fits."""
    import inspect

    if params is None:
        stored_model(adata, keys.run)
        given = dict(adata.uns[keys.uns]["params"])
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
        if n < 4:
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
