"""Hold genes at a level and see where the cells go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._random import random_source
from scnode._settings import logger
from scnode._typing import RandomState
from scnode._write import written
from scnode.data import Support, evenly
from scnode.model import stored_model
from scnode.tl._cell_clock import cell_clock
from scnode.tl._constraint import Reader, regimen
from scnode.tl._control import own_control, values_along
from scnode.tl._experiment import departure, difference_field, set_up
from scnode.tl._matched import null_effects
from scnode.tl._outcomes import moved_off, outcome_table, terminal_groups
from scnode.tl._outside import regress_outside
from scnode.tl._protocol import Course, GeneLevel, as_table, read_courses
from scnode.tl._response import responses
from scnode.tl._trajectories import Start, start_rows
from scnode.tl._trust import Trust

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode.model import LatentODE

_N_STEPS = 17
_N_KEPT = 100


def perturb(
    adata: AnnData,
    genes: Mapping[str, GeneLevel],
    *,
    mode: Literal["hold", "initial"] = "hold",
    start: Start = None,
    groupby: str | None = None,
    groups: Sequence[str] | None = None,
    t: float | None = None,
    n_null: int = 99,
    noise: bool | None = None,
    rng: RandomState = 0,
    name: str | None = None,
    overwrite: bool = False,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Flow from the same cells with and without genes held at a level.

    Let :math:`g(z)` be the decoded expression of the genes and :math:`b(t)` their levels. The start is moved to the
    nearest state with :math:`g = b(0)`, and with ``mode="hold"`` the flow follows

    .. math:: \dot z = f(z) + G^+\big(\dot b - G f(z) - \kappa\,(g(z) - b)\big), \qquad G = \partial g/\partial z,

    so that the genes keep their levels with the least change of the velocity while every other responds through the
    field. Of a linear decoder :math:`G` is constant and the level set a plane, and changes are measured in units of the
    spread of the cells, :math:`G^+ = CG^\top(GCG^\top)^{-1}` with their covariance :math:`C`: states go where, by the
    cells, such a level is likeliest. Of any other the states written are those nearest on it, whose decoded level is
    within 1e-4. In a model of RNA the state holds the gene itself:
    :math:`s` is kept at its level and :math:`u` at :math:`(\gamma/\beta)s`, which is zero for a knock-out. A gene that
    was measured and is not of the model is read off the state by ridge regression.

    Both arms start from the same cells and go through every member of the ensemble with the same solver, each cell
    under its own input where the field takes one, and with noise along the same Brownian motions. The same is done to
    random genes of equal mean and variance, in one solve, from up to 25 of the starts: their fold changes of the fates
    are what chance gives.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit` with a decoder.
    genes
        Level of each gene in log-normalised units: a number (0 is a knock-out); a function of the time since the
        start, which takes a tensor and returns a number; a :class:`scnode.nn.Schedule`; or a schedule
        ``(times, levels)``, each level from its time until the next one, or ``(times, levels, "linear")``. Where a
        level is None or NaN, and before its first time, the gene is left to itself: ``([0, 0.3], [2.0, None])`` is a
        pulse. Times are in units of the clock from the start. A VAE, which decodes no zero, holds at 0.01 at least.
    mode
        ``"hold"`` keeps the level throughout, ``"initial"`` changes the start only.
    start
        Cells to start from, as in :func:`scnode.tl.trajectories`.
    groupby, groups
        `obs` column and its terminal groups (all of them by default), else those of the last :func:`scnode.tl.fate`;
        an end state belongs to the groups of its 15 nearest terminal cells, in their shares. Without either there is
        no table of fates.
    t
        Length of the flow in units of the clock, 1 (its full range) by default.
    n_null
        How many random genes, or choices of as many genes, make the null. The smallest p value is one over one more.
        With 0, or where the model has no other gene, it is that of Student's t: whether the members of the ensemble and
        the start cells agree on the sign.
    noise
        Whether the cells are shaken, each by one Brownian motion a member; by default where the model has a diffusion.
    rng
        Source of the noise and of the null.
    name
        Name of the result, by default made of genes and levels: ``"Gata1_0"``.
    overwrite
        Whether to replace a result of that name.
    key_added, copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``obsm["X_scnode_<name>"]`` mean end states (cell, latent); ``obsm["scnode_<name>_shift"]`` (cell,
        latent), what these differ from the control's, and its length ``obs["scnode_<name>_shift"]``;
        ``obs["scnode_<name>_departure"]``, the time at which the two arms, beyond what was done to the start, are
        farther apart than the members of the ensemble, infinite where they never are; all NaN for cells outside
        `start`. ``obsm["velocity_scnode_<name>_difference"]`` (cell, latent) is what holding the genes does to the
        velocity of every cell, NaN where no state has the level.

        ``uns["scnode"]["perturbations"][name]`` holds `genes`, `levels` (gene,) at the start (NaN where left alone),
        `schedule` (a table of the level over time), `mode`, `t`, `start`, `control` and `perturbed` end states (start,
        member, latent); `path_t`, `path_start`, `path_control` and `path_perturbed` (start, member, step, latent) for
        at most 100 starts, and over these the mean expression `response_control` and `response_perturbed` (step, gene)
        with the members' standard deviation of the difference, `response_sd`; `explained_variance` by gene for those
        that are not of the model; with groups their column `groupby`, `fates`, the table of
        :func:`scnode.get.perturbation`, `null_genes` (draw, gene) and `null` (draw, fate), their log2 fold
        changes. After :func:`scnode.tl.ood` also `ood` (start, member), the scores of the perturbed end states.

    Raises
    ------
    ScnodeError
        No fitted model, no decoder, a gene that is neither of the model nor measured, is constant, or of whose variance
        the state explains less than 5 % though it is not of the model; an unknown group; a level that is negative, not
        a number, or that no state has; a schedule that contradicts itself or leaves the flow; or a name already in use.
    SolverError
        A trajectory that could not be integrated.
    """
    keys = Keys(key_added)
    model = stored_model(adata, key_added)
    if mode not in ("hold", "initial"):
        raise ScnodeError(f"mode={mode!r} is unknown. Pass 'hold' or 'initial'.")
    horizon = 1.0 if t is None else float(t)
    if not horizon > 0 or n_null < 0:
        raise ScnodeError(f"t={horizon} must be positive and n_null={n_null} not negative. Leave them out.")
    courses = read_courses(genes, horizon, mode)
    name = _free_name(adata.uns[keys.uns], courses, name, overwrite=overwrite)
    latent, rows = np.asarray(adata.obsm[keys.latent], dtype=float), start_rows(adata, start, keys)
    reader = Reader.of(model, latent, regress_outside(adata, model, keys, [course.gene for course in courses]))
    terminal = terminal_groups(adata, keys, groupby, groups)
    plan = regimen(courses, horizon, lambda which, level: reader.hold([courses[i].gene for i in which], level))
    source, elapsed = random_source(rng), np.linspace(0, horizon, _N_STEPS)
    holding = mode == "hold"
    experiment = set_up(adata, model, keys, rows, elapsed=elapsed, noise=noise, rng=source, holding=holding)
    control, perturbed = experiment.run(), experiment.run(plan)
    trust = Trust.stored(adata, keys, model)
    # Every second step judges the end as well, at half the cost.
    seen = elapsed[::2], perturbed[:, :, ::2].astype(float)
    begin = cell_clock(adata, model, keys)[rows, 0].numpy().astype(float)
    doubt = None
    if trust is not None:
        under = values_along(experiment.control, elapsed[::2], len(rows))
        doubt = trust.along(*seen, begin, under)["ood"][..., -1]
    ends, names = (control[:, :, -1], perturbed[:, :, -1]), adata.obs_names[rows].to_numpy().astype(str)
    record: dict[str, Any] = {
        **_describe(courses, reader, horizon),
        "mode": mode,
        "t": horizon,
        "start": names,
        "control": ends[0],
        "perturbed": ends[1],
        **_paths(model, elapsed, control, perturbed, names),
    }
    if doubt is not None:
        record["ood"] = doubt
    if terminal is not None:
        null = null_effects(
            experiment, reader, courses, ends=ends, latent=latent, terminal=terminal, n=n_null, rng=source
        )
        lost = moved_off(Support(latent), control[:, 0, 0], perturbed[:, 0, 0])
        record["fates"] = outcome_table(latent, terminal, *ends, doubt, lost=lost, pvalues=null.pop("pvalues", None))
        record |= null | {"groupby": groupby or str(adata.uns[keys.uns]["fate"]["groupby"])}
    columns = {
        "shift": (ends[1] - ends[0]).mean(1),
        "departure": departure(elapsed, control, perturbed),
        "ends": ends[1].mean(1),
    }
    clock, own = cell_clock(adata, model, keys), own_control(adata, model)
    difference = difference_field(model, plan, latent, clock, own, holding=holding)
    with written(adata, copy=copy) as result:
        _write(result, keys, name, record, rows=rows, columns=columns, difference=difference)
    return result if copy else None


def _free_name(run: Mapping[str, Any], courses: Sequence[Course], name: str | None, *, overwrite: bool) -> str:
    name = name or "_".join(_label(course) for course in courses).replace("/", "-")
    if "/" in name:
        raise ScnodeError(f"name={name!r} holds '/', which files use to nest. Pass another name=.")
    stored = run.get("perturbations", {})
    if not isinstance(stored, Mapping):
        raise ScnodeError("Stored perturbations are damaged: delete them, del adata.uns['scnode']['perturbations'].")
    if name in stored and not overwrite:
        raise ScnodeError(f"A perturbation named {name!r} is stored. Pass overwrite=True, or another name=.")
    return name


def _label(course: Course) -> str:
    return f"{course.gene}_{course.segments[0].coefficients[0, 0]:g}" if course.always else f"{course.gene}_schedule"


def _describe(courses: Sequence[Course], reader: Reader, horizon: float) -> dict[str, Any]:
    """What was asked, as files keep it."""
    import torch

    first = [course.at(0.0) for course in courses]
    levels = [np.nan if segment is None else float(segment(torch.zeros(()).double())) for segment in first]
    asked = {
        "genes": [course.gene for course in courses],
        "levels": np.array(levels),
        "schedule": as_table(courses, horizon),
    }
    for gene, found in reader.outside.items():
        logger.info("%s is not of the model: the state explains %.0f %% of its variance.", gene, 100 * found.explained)
    if reader.outside:
        asked["explained_variance"] = {
            gene.replace("/", "-"): found.explained for gene, found in reader.outside.items()
        }
    return asked


def _paths(
    model: LatentODE, ts: np.ndarray, control: np.ndarray, perturbed: np.ndarray, names: np.ndarray
) -> dict[str, np.ndarray]:
    """Both arms of a few starts, evenly taken, and mean expression along them."""
    few = evenly(len(names), _N_KEPT)
    kept = {"path_start": names[few], "path_control": control[few], "path_perturbed": perturbed[few]}
    return {"path_t": ts, **kept, **responses(model, control[few], perturbed[few])}


def _write(
    adata: AnnData,
    keys: Keys,
    name: str,
    record: dict[str, Any],
    *,
    rows: np.ndarray,
    columns: dict[str, np.ndarray],
    difference: np.ndarray,
) -> None:
    wide = {}
    for label, values in columns.items():
        wide[label] = np.full((adata.n_obs, *values.shape[1:]), np.nan, dtype=values.dtype)
        wide[label][rows] = values
    adata.obsm[keys.end_states(name)] = wide["ends"]
    adata.obsm[keys.shift(name)] = wide["shift"]
    adata.obs[keys.shift(name)] = np.linalg.norm(wide["shift"].astype(float), axis=1)
    adata.obs[keys.departure(name)] = wide["departure"]
    adata.obsm[keys.difference(name)] = difference
    run = adata.uns[keys.uns]
    adata.uns[keys.uns] = {**run, "perturbations": {**run.get("perturbations", {}), name: record}}
