"""Where the fitted model should not be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._random import random_source
from scnode._settings import logger
from scnode._typing import RandomState
from scnode._write import written
from scnode.model import stored_model, stored_result
from scnode.tl._calibration import Calibration
from scnode.tl._cell_clock import cell_clock
from scnode.tl._control import control_of, own_control
from scnode.tl._left_out import N_FOLDS, Population, forecasts, held_out_ratio, regions, velocity_of
from scnode.tl._outcomes import named_groups
from scnode.tl._path_parts import Ground, shared
from scnode.tl._trust import OOD, Trust, judge_trajectories

if TYPE_CHECKING:
    from anndata import AnnData
    from distributed import Client
    from numpy.typing import NDArray

    from scnode.model import LatentODE

    Floats = NDArray[np.float64]

_HORIZON = 0.25
_FEWEST = 40
_SMALLEST_FOLD = 5
_DOUBTED = 0.5
_BECAUSE = {
    "distance": "they are far from all cells",
    "disagreement": "the members of the ensemble disagree",
    "jacobian_norm": "the velocity changes fast from state to state",
    "ftle": "neighbouring trajectories part",
    "error_bound": "errors of the field and of the start grow",
}


def ood(
    adata: AnnData,
    *,
    groupby: str | None = None,
    horizon: float | None = None,
    rng: RandomState = 0,
    client: Client | None = None,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Say where forecasts of the fitted model should not be believed, and how far they may be off.

    The score of a state :math:`\tau` after its start is

    .. math:: p = g\Bigl(\sum_k w_k\,\phi_k\Bigr) \approx
        P\bigl(\|\hat z(\tau) - z(\tau)\| > 2\,\bar e\bigr), \qquad w_k \ge 0,

    where :math:`\phi_k` are the standardised logarithms of the parts along the way from the start:

    - ``distance``: mean distance to the 15 nearest cells over that of 99 % of the cells from theirs, mean over time;
      where the field takes an input, cells under another are farther by its difference times the spread of the cells;
    - ``disagreement``: root mean square deviation of the ensemble's velocities over the usual speed, mean over time;
    - ``jacobian_norm``: :math:`\|J\|_2`, mean over time;
    - ``ftle``: :math:`\frac1\tau\ln\sigma_{\max}(\partial\hat z(\tau)/\partial\hat z(0))` (itself, no logarithm);
    - ``error_bound``: Grönwall's bound :math:`\dot e = \mu_2(J)\,e + \varepsilon(z)`, over the spread of the cells.
      :math:`e(0)` is a cell's distance from what its neighbours share and :math:`\varepsilon` the residual of the field
      against the evidence, averaged over neighbours and raised by how much larger residuals are at cells held out.

    Weights, the isotonic map :math:`g` and the usual error :math:`\bar e`, the median of forecasts from cells that were
    seen, come from refits without one part of the cells at a time. The truth of a forecast is there what the whole
    fit and the cells of that time say: no more is known from data, so that the score is blind to an error that all
    cells share. On the same forecasts, and bins of the same sum, rests the conformal radius within which a state lies
    with probability 0.9. Of a field of more than 100 dimensions, as a gray box of many genes is, the Jacobians along
    the 50 leading principal axes of the cells count.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit`.
    groupby
        `obs` column whose groups are left out in turn, at most four of them, and named in the report; by default
        regions of the latent space are.
    horizon
        How far ahead each cell is judged in units of the clock, 0.25 by default.
    rng
        Source of all randomness.
    client
        A :class:`dask.distributed.Client <distributed.Client>` whose workers forecast the cells, some thousands at a
        time.
    key_added, copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``obs["scnode_ood"]``, the score in [0, 1]; ``obs["scnode_error_bound"]`` in latent units; and
        ``uns["scnode"]["ood"]``: `parts`, a DataFrame by cell of the parts, the `radius` of its forecast (of an
        ensemble), its `noise` and `field_error` (NaN for cells held out from the fit); `weights` by part; `calibration`
        as arrays, `horizon`, `held_out_ratio` of the residuals, and `report`, one sentence. Stored trajectories get
        `ood` and, of an ensemble, `radius`, both (start, sample, step); later calls of
        :func:`scnode.tl.trajectories`, :func:`scnode.tl.perturb` and :func:`scnode.tl.map` use the calibration.

    Raises
    ------
    ScnodeError
        No fitted model or evidence, fewer than 40 cells, an unknown column or one without two groups that can be left
        out, a horizon that is not positive, or a client whose workers give no answer.
    SolverError
        A trajectory that could not be integrated.

    References
    ----------
    :cite:p:`Shadden2005`, :cite:p:`Soderlind2006`, :cite:p:`Vovk2005`, :cite:p:`Angelopoulos2021`
    """
    keys, source = Keys(key_added), random_source(rng)
    model = stored_model(adata, key_added)
    ahead = _checked(horizon)
    latent, evidence, seen = _cells(adata, keys)
    labels = None if groupby is None else named_groups(adata, groupby, None)
    population = _population(adata, model, keys, latent, seen)
    ratio = held_out_ratio(model.field, population, evidence[seen], source)
    velocity = velocity_of(model.field, population)
    residual = np.linalg.norm(shared(latent[seen], velocity - evidence[seen], population.control), axis=1)
    noise = np.linalg.norm(latent[seen] - population.smooth, axis=1)
    ground = Ground(latent[seen], noise, ratio * residual, population.control)
    folds = _folds(population.smooth, None if labels is None else labels[seen], groupby, source)
    calibration = Calibration.fit(forecasts(model, ground, population, velocity, folds, rng=source))
    trust = Trust(model, ground, calibration, ahead)
    extra = {"held_out_ratio": ratio, "horizon": ahead}
    with written(adata, copy=copy) as result:
        _write(result, keys, trust, seen, labels=labels, client=client, extra=extra)
    return result if copy else None


def _checked(horizon: float | None) -> float:
    ahead = _HORIZON if horizon is None else float(horizon)
    if not (np.isfinite(ahead) and ahead > 0):
        raise ScnodeError(f"horizon={horizon} must be positive. Leave it out for a quarter of the clock's range.")
    if ahead > 1:
        logger.warning(
            "horizon=%g is beyond the range of the clock, 1: no two cells are so far apart in time, and the score "
            "there is extrapolated. Pass horizon=1 or less.",
            ahead,
        )
    return ahead


def _cells(adata: AnnData, keys: Keys) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """States, evidence, and which cells have such."""
    if keys.evidence not in adata.obsm:
        raise ScnodeError(
            f"adata.obsm[{keys.evidence!r}] is missing: nothing says how wrong the field is. Run scnode.tl.fit(adata), "
            "or score cells placed by scnode.tl.map through the object of the fit: scnode.tl.ood(reference), then map."
        )
    latent, evidence = (np.asarray(adata.obsm[key], dtype=float) for key in (keys.latent, keys.evidence))
    seen = np.isfinite(evidence).all(1)
    if seen.sum() < _FEWEST:
        raise ScnodeError(
            f"{seen.sum()} of {adata.n_obs} cells have evidence, and a calibration needs {_FEWEST}. Pass all cells of "
            "the fit: scnode.tl.ood(adata)."
        )
    return latent, evidence, seen


def _population(adata: AnnData, model: LatentODE, keys: Keys, latent: Floats, seen: NDArray[np.bool_]) -> Population:
    if keys.time not in adata.obs:
        raise ScnodeError(f"adata.obs[{keys.time!r}] not found. Run scnode.tl.fit(adata) again.")
    with stored_result(adata, keys.uns, "report") as report:
        cyclic = (report or {}).get("clock", {}).get("kind") == "cycle"
    states, control = latent[seen], control_of(adata, model, seen)
    smooth = shared(states, states, control)
    return Population(states, smooth, adata.obs[keys.time].to_numpy(dtype=float)[seen], cyclic, control)


def _folds(
    smooth: Floats, labels: NDArray[np.str_] | None, groupby: str | None, rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """Parts of the cells to leave out, each small enough that a field can be fitted to the rest."""
    parts = regions(smooth, rng) if labels is None else [labels == name for name in np.unique(labels[labels != ""])]
    fit = [part for part in parts if _SMALLEST_FOLD <= part.sum() <= len(smooth) - _FEWEST // 2]
    if len(fit) < 2:
        where = "the latent space" if groupby is None else f"adata.obs[{groupby!r}]"
        raise ScnodeError(f"{where} has {len(fit)} parts that can be left out, and two are needed. Pass groupby=.")
    return [fit[i] for i in rng.permutation(len(fit))[:N_FOLDS]]


def _write(
    adata: AnnData,
    keys: Keys,
    trust: Trust,
    seen: NDArray[np.bool_],
    *,
    labels: NDArray[np.str_] | None,
    client: Client | None,
    extra: dict[str, Any],
) -> None:
    import pandas as pd

    begin = cell_clock(adata, trust.model, keys)[:, 0].numpy().astype(float)
    latent, control = np.asarray(adata.obsm[keys.latent], dtype=float), own_control(adata, trust.model)
    parts, judged = trust.ahead(latent, begin, control, client=client)
    table = pd.DataFrame(parts, index=adata.obs_names.astype(str))
    if "radius" in judged:
        table["radius"] = judged["radius"]
    else:
        logger.warning(
            "The ensemble has one member: its disagreement is no part of the score, and there is no radius. Fit with "
            "scnode.tl.fit(adata, n_members=5) for both."
        )
    for name in ("noise", "field_error"):
        table.loc[seen, name] = getattr(trust.ground, name)
    run = dict(adata.uns[keys.uns])
    ends = None
    if "trajectories" in run:
        with stored_result(adata, keys.uns, "trajectories", by="scnode.tl.trajectories(adata)") as stored:
            rows = adata.obs_names.get_indexer(stored["start"])
            run["trajectories"] = judge_trajectories(trust, stored, begin[rows])
            ends = run["trajectories"][OOD][..., -1]
    calibration = trust.calibration
    report = _report(calibration, parts, judged[OOD], ends, labels)
    logger.info("%s", report)
    run[OOD] = {
        "parts": table,
        "weights": dict(zip(calibration.names.tolist(), calibration.weight.tolist(), strict=True)),
        "calibration": calibration.arrays(),
        "report": report,
        **extra,
    }
    adata.obs[keys.ood] = judged[OOD]
    adata.obs[keys.error_bound] = parts["error_bound"] * trust.ground.spread
    adata.uns[keys.uns] = run


def _report(
    calibration: Calibration,
    parts: dict[str, Floats],
    score: NDArray[np.float32],
    ends: NDArray[np.float32] | None,
    labels: NDArray[np.str_] | None,
) -> str:
    doubted = score > _DOUBTED
    what = f"{doubted.mean():.0%} of the cells".replace("%", " %")
    if ends is not None:
        what += f" and {(ends > _DOUBTED).mean():.0%} of the trajectories' ends".replace("%", " %")
    said = f"{what} lie where the model should not be believed"
    if not doubted.any():
        return f"{said}."
    where = ""
    if labels is not None:
        names, counts = np.unique(labels[doubted & (labels != "")], return_counts=True)
        where = f" mostly in group {names[counts.argmax()]}" if len(names) else ""
    because = _BECAUSE[calibration.blame({name: values[doubted] for name, values in parts.items()})]
    return f"{said},{where} because {because}."
