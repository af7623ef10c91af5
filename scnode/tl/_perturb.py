"""Hold genes at a level and see where the cells go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._write import written
from scnode.model import stored_model
from scnode.tl._cell_clock import cell_clock, own_times
from scnode.tl._control import chosen_control
from scnode.tl._outcomes import outcome_table, terminal_groups
from scnode.tl._rna import held_at
from scnode.tl._trajectories import Start, start_rows
from scnode.tl._trust import Trust

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode.model import LatentODE
    from scnode.nn import PCA, Hold

_N_STEPS = 9


def perturb(
    adata: AnnData,
    genes: Mapping[str, float],
    *,
    mode: Literal["hold", "initial"] = "hold",
    start: Start = None,
    groupby: str | None = None,
    groups: Sequence[str] | None = None,
    t: float | None = None,
    name: str | None = None,
    overwrite: bool = False,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Flow from the same cells with and without genes held at a level.

    Decoded expression of a held gene is :math:`a\cdot z + b`. Its level defines a plane of the latent space; the start
    is moved to the nearest state on that plane, and with ``mode="hold"`` the flow follows
    :math:`\dot z = (I - A^+A) f(z)`, so that the gene keeps its level while every other responds through the field.
    In a model of RNA the state holds the gene itself: :math:`s` is kept at its level and :math:`u` at
    :math:`(\gamma/\beta)s`, which is zero for a knock-out. Both arms start from the same cells and go through every
    member of the ensemble with the same solver, each cell under its own input where the field takes one.

    Parameters
    ----------
    adata
        Annotated by :func:`scnode.tl.fit` with ``encoder="pca"``, ``decoder="linear"`` or ``field="rna"``.
    genes
        Level of each gene in log-normalised units; 0 is a knock-out.
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
    name
        Name of the result, by default made of genes and levels: ``"Gata1_0"``.
    overwrite
        Whether to replace a result of that name.
    key_added, copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``uns["scnode"]["perturbations"][name]`` (`genes`, `levels`, `mode`, `t`, `start`, `control` and
        `perturbed` end states (start, member, latent), and `fates`, the table of :func:`scnode.get.perturbation`),
        ``obsm["X_scnode_<name>"]`` mean end states (cell, latent) and ``obs["scnode_<name>_shift"]``, the distance
        between the mean end states of both arms; the last two are NaN for cells outside `start`. After
        :func:`scnode.tl.ood` the record also holds `ood` (start, member), the scores of the perturbed end states.

    Raises
    ------
    ScnodeError
        No fitted model, no decoder or a nonlinear one, an unknown gene or group, a level that is negative or not a
        number, or a name already in use.
    SolverError
        A trajectory that could not be integrated.
    """
    import torch

    keys = Keys(key_added)
    model = stored_model(adata, key_added)
    hold = constraint(model, genes)
    if mode not in ("hold", "initial"):
        raise ScnodeError(f"mode={mode!r} is unknown. Pass 'hold' or 'initial'.")
    horizon = 1.0 if t is None else float(t)
    if not horizon > 0:
        raise ScnodeError(f"t={horizon} must be positive. Leave it out for the full range of the clock.")
    name = _free_name(adata.uns[keys.uns], genes, name, overwrite=overwrite)
    rows = start_rows(adata, start, keys)
    terminal = terminal_groups(adata, keys, groupby, groups)
    states = torch.as_tensor(np.asarray(adata.obsm[keys.latent])[rows], dtype=torch.float32)
    elapsed = torch.linspace(0, horizon, _N_STEPS)
    ts = own_times(model, cell_clock(adata, model, keys)[rows], elapsed)
    with torch.no_grad():
        own = chosen_control(adata, model, rows, None)
        control = model.flow(states, ts, members=True, control=own)[:, :, -1].numpy()
        held = hold if mode == "hold" else None
        paths = model.flow(hold.confine(states), ts, members=True, hold=held, control=own).numpy()
    perturbed = paths[:, :, -1]
    trust = Trust.stored(adata, keys, model)
    doubt = None if trust is None else trust.along(elapsed.numpy().astype(float), paths.astype(float))["ood"][..., -1]
    record: dict[str, Any] = {
        "genes": list(genes),
        "levels": np.array([float(v) for v in genes.values()]),
        "mode": mode,
        "t": horizon,
        "start": adata.obs_names[rows].to_numpy().astype(str),
        "control": control,
        "perturbed": perturbed,
    }
    if doubt is not None:
        record["ood"] = doubt
    if terminal is not None:
        latent = np.asarray(adata.obsm[keys.latent], dtype=float)
        record["fates"] = outcome_table(latent, terminal, control, perturbed, doubt)
    with written(adata, copy=copy) as result:
        _write(result, keys, name, rows, record)
    return result if copy else None


def linear_decoder(model: LatentODE) -> PCA:
    """The decoder, of which a gene's level is a plane of the latent space."""
    from scnode.nn import PCA

    decoder = model.decoder
    if not isinstance(decoder, PCA):
        raise ScnodeError(
            f"A gene is held on a plane of the latent space, and decoded by {decoder.name!r} its level is none. "
            "Fit with encoder='pca'."
        )
    return decoder


def constraint(model: LatentODE, genes: Mapping[str, float]) -> Hold:
    """What keeps genes at their levels."""
    import torch

    from scnode.nn import Hold, Moments

    decoder = model.decoder if isinstance(model.decoder, Moments) else linear_decoder(model)
    if not isinstance(genes, Mapping) or not genes:
        raise ScnodeError(f"genes={genes!r} names no gene. Pass {{'<gene>': 0.0}} for a knock-out.")
    columns = model.columns(genes)
    for gene, level in genes.items():
        if not isinstance(level, Real) or not np.isfinite(level) or level < 0:
            raise ScnodeError(
                f"genes={{{gene!r}: {level!r}}} must be one level of at least 0 in log-normalised units. "
                "Pass 0.0 for a knock-out."
            )
    if isinstance(decoder, Moments):
        return held_at(model, columns, list(genes.values()))
    readout = decoder.components[columns]
    if int(torch.linalg.matrix_rank(readout)) < len(columns):
        raise ScnodeError(
            f"The latent space cannot hold {list(genes)} apart. Name fewer genes, or fit with a larger n_latent=."
        )
    levels = torch.tensor([float(v) for v in genes.values()])
    return Hold(readout, levels - decoder.mean[columns])


def _free_name(run: Mapping[str, Any], genes: Mapping[str, float], name: str | None, *, overwrite: bool) -> str:
    name = name or "_".join(f"{g}_{float(v):g}" for g, v in genes.items()).replace("/", "-")
    if "/" in name:
        raise ScnodeError(f"name={name!r} holds '/', which files use to nest. Pass another name=.")
    stored = run.get("perturbations", {})
    if not isinstance(stored, Mapping):
        raise ScnodeError("Stored perturbations are damaged: delete them, del adata.uns['scnode']['perturbations'].")
    if name in stored and not overwrite:
        raise ScnodeError(f"A perturbation named {name!r} is stored. Pass overwrite=True, or another name=.")
    return name


def _write(adata: AnnData, keys: Keys, name: str, rows: np.ndarray, record: dict[str, Any]) -> None:
    control, perturbed = record["control"].mean(1), record["perturbed"].mean(1)
    ends = np.full((adata.n_obs, control.shape[1]), np.nan, dtype=np.float32)
    shift = np.full(adata.n_obs, np.nan)
    ends[rows], shift[rows] = perturbed, np.linalg.norm(perturbed - control, axis=1)
    adata.obsm[keys.end_states(name)] = ends
    adata.obs[keys.shift(name)] = shift
    run = adata.uns[keys.uns]
    adata.uns[keys.uns] = {**run, "perturbations": {**run.get("perturbations", {}), name: record}}
