"""Place new cells in the latent space of a fitted model."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._settings import logger
from scnode._validation import check_names, check_obsm, near
from scnode._write import written
from scnode.data import Support, encode, mean_phase, read_batches, read_expression, read_times
from scnode.data._chunks import Chunks
from scnode.model import LatentODE, stored_model, stored_result
from scnode.tl._control import own_control
from scnode.tl._rna import moments_of, write_kinetics
from scnode.tl._space import build_space
from scnode.tl._trust import Trust

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Tensor

    from scnode.data import Expression

_MOST_MISSING = 0.5


def map(
    adata: AnnData,
    model: LatentODE | AnnData,
    *,
    layer: str | None = None,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Encode cells that a model was not fitted to, and predict how they move.

    Genes are matched by name: their order does not matter, further genes are left out, and a gene that `adata` lacks
    takes its mean over the cells of the fit. Nothing is fitted again: :math:`z = E(x)` and :math:`\dot z = f(z)`.
    A model of RNA (``field="rna"``) needs all of its genes in the layers `spliced` and `unspliced`, and averages the
    new cells among themselves. A model on a representation of the user's reads it from `obsm`, where the new cells must
    have been placed; a field under an input reads each new cell's from the columns of the fit's `control_key`.

    Parameters
    ----------
    adata
        New cells, normalised as those of the fit were: raw counts where it had raw counts.
    model
        A fitted model, or the object that :func:`scnode.tl.fit` annotated; the latter also gives the new cells their
        time and says which of them lie off its own.
    layer
        Layer to encode instead of `X`.
    key_added
        Name of the run, in both objects.
    copy
        As in :func:`scnode.tl.fit`.

    Returns
    -------
    AnnData or None
        Writes ``obsm["X_scnode"]`` and ``obsm["velocity_scnode"]`` (cell, latent), ``obs["scnode_velocity_sd"]`` and
        ``uns["scnode"]`` with `params`, `report` (`genes`, `missing_genes`), `model` and `version`. With an object of
        fitted cells also ``obs["scnode_time"]``, the mean clock of the 15 nearest of them (their mean direction where
        it is a phase), and ``obs["scnode_outside"]``, whether a cell is farther from them than
        99 % of them are from each other; after :func:`scnode.tl.ood` on it, ``obs["scnode_ood"]`` and
        ``obs["scnode_error_bound"]`` by its calibration. Where the field depends on time it is asked at this clock,
        which is then that of the cells' own days in the column of the fit's `time_key`, if it had one.

    Raises
    ------
    ScnodeError
        No fitted model, no clock for a field that depends on time, expression on another scale, more than half of the
        genes missing, or a batch or an input that the model was not fitted to; `adata` is then unchanged.
    """
    keys, reference = Keys(key_added), None
    if not isinstance(model, LatentODE):
        reference, model = model, stored_model(model, key_added)
    if not adata.n_obs:
        raise ScnodeError("adata has no cells. Pass those to be placed.")
    check_names(adata)
    latent, report = place(adata, model, layer)
    seen = {} if reference is None else _compare(latent, own_control(adata, model), reference, keys, model)
    if model.field.time_dependent:
        seen[keys.time] = _own_clock(adata, reference, keys, seen)
    with written(adata, copy=copy) as result:
        _write(result, keys, model, latent, seen, params={"layer": layer}, report=report)
    return result if copy else None


def place(adata: AnnData, model: LatentODE, layer: str | None) -> tuple[np.ndarray, dict[str, int]]:
    """Latent states of cells that the model was not fitted to, and how many genes they come from."""
    if model.use_rep is not None or model.encoder is None:
        return _given(adata, model), {}
    if model.transform == "moments":
        among = build_space(adata, use_rep=None, layer=layer, n_latent=None, reuse=False).evidence.neighbors
        return moments_of(adata, model, among), {"genes": len(model.genes), "missing_genes": 0}
    expression = read_expression(adata, layer=layer)
    _check_transform(expression, model.transform)
    matrix, missing = _match_genes(expression, model.genes, model.encoder.mean.numpy())
    batch = None
    if model.batch_key is not None:
        batch = read_batches(adata, model.batch_key, known=model.batches).apart
    encoder = deepcopy(model.encoder).double()
    latent = encode(encoder, matrix, batch=batch)
    return latent, {"genes": len(model.genes), "missing_genes": missing}


def _given(adata: AnnData, model: LatentODE) -> np.ndarray:
    if model.use_rep is None:
        raise ScnodeError("The model has no encoder and names no representation. Fit with scnode.tl.fit(adata).")
    latent = check_obsm(adata, model.use_rep, argument="use_rep")
    if latent.shape[1] < model.n_latent:
        raise ScnodeError(
            f"adata.obsm[{model.use_rep!r}] has {latent.shape[1]} columns, and the model needs {model.n_latent}. Place "
            "the new cells with what placed the cells of the fit."
        )
    return latent[:, : model.n_latent]


def _check_transform(expression: Expression, transform: str) -> None:
    kinds = {"log1p_cp10k": "raw counts", "none": "log-normalised values"}
    if expression.transform != transform:
        raise ScnodeError(
            f"The cells come as {kinds[expression.transform]}, and those of the fit came as {kinds[transform]}. Pass "
            f"layer= with {kinds[transform]}."
        )


def _match_genes(expression: Expression, genes: list[str], mean: np.ndarray) -> tuple[sp.csr_matrix | Chunks, int]:
    """Expression of the encoder's genes in its order, and how many of them are filled in."""
    place = {gene: i for i, gene in enumerate(expression.genes)}
    columns = np.array([place.get(gene, -1) for gene in genes])
    missing = columns < 0
    n_missing, n = int(missing.sum()), len(columns)
    if n_missing > _MOST_MISSING * n:
        first = [gene for gene, gone in zip(genes, missing, strict=True) if gone][:3]
        raise ScnodeError(
            f"{n_missing} of the model's {n} genes are not in adata.var_names (first: {first}; there: "
            f"{expression.genes[:3].tolist()}). Name genes as in the fit, or pass the whole gene set."
        )
    matrix = expression.matrix[:, np.maximum(columns, 0)]
    if not n_missing:
        return matrix, 0
    logger.warning("%d of the model's %d genes are missing: their mean over the fitted cells is used.", n_missing, n)
    filler, there = sp.csr_matrix(np.where(missing, mean, 0)), sp.diags((~missing).astype(np.float32))

    def filled(block: sp.csr_matrix, rows: slice | None = None) -> sp.csr_matrix:
        del rows
        return sp.csr_matrix(block @ there + sp.csr_matrix(np.ones((block.shape[0], 1))) @ filler)

    return Chunks(matrix, filled) if isinstance(matrix, Chunks) else filled(matrix), n_missing


def _compare(
    latent: np.ndarray, control: Tensor | None, reference: AnnData, keys: Keys, model: LatentODE
) -> dict[str, np.ndarray]:
    """Clock of the nearest fitted cells, whether they are far, and how far a forecast is to be believed."""
    support = Support(np.asarray(reference.obsm[keys.latent], dtype=float))
    distance, index = support.nearest(latent)
    found: dict[str, np.ndarray] = {keys.outside: support.excess(distance) > 0}
    if keys.time in reference.obs:
        times = reference.obs[keys.time].to_numpy(dtype=float)[index]
        with stored_result(reference, keys.uns, "report") as report:
            clock = (report or {}).get("clock", {})
        found[keys.time] = mean_phase(times) if clock.get("kind") == "cycle" else times.mean(1)
    trust = Trust.stored(reference, keys, model)
    if trust is not None:
        begin = found[keys.time] if model.field.time_dependent else np.zeros(len(latent))
        parts, judged = trust.ahead(latent, begin, control)
        found[keys.ood] = judged["ood"]
        found[keys.error_bound] = parts["error_bound"] * trust.ground.spread
    return found


def _own_clock(adata: AnnData, reference: AnnData | None, keys: Keys, seen: dict[str, np.ndarray]) -> np.ndarray:
    """Clock of new cells for a field that asks for it: by their day where the fit knew days, else their neighbours'."""
    if reference is None or keys.time not in seen:
        raise ScnodeError("The field depends on time. Pass the object of the fitted cells as model=, for its clock.")
    with stored_result(reference, keys.uns, "report") as report:
        unit = (report or {}).get("time_unit")
        if unit is None:
            return seen[keys.time]
        key = str(unit["key"])
        if key not in adata.obs:
            raise ScnodeError(
                f"adata.obs[{key!r}] not found, and the field depends on it. {near(key, adata.obs.columns)}"
            )
        known = None if unit["unit"] == "unknown" else str(unit["unit"])
        days = read_times(adata.obs[key], key, unit=known)[0]
        return (days - float(unit["origin"])) / float(unit["span"])


def _write(
    adata: AnnData,
    keys: Keys,
    model: LatentODE,
    latent: np.ndarray,
    seen: dict[str, np.ndarray],
    **labels: dict[str, Any],
) -> None:
    import torch

    from scnode import __version__

    states = torch.as_tensor(latent, dtype=torch.float32)
    t = torch.as_tensor(seen[keys.time], dtype=torch.float32)[:, None] if keys.time in seen else None
    with torch.no_grad():
        velocity, sd = deepcopy(model).float().velocity(states, t=t, control=own_control(adata, model))
    adata.obsm[keys.latent] = states.numpy()
    adata.obsm[keys.velocity] = velocity.numpy()
    adata.obs[keys.velocity_sd] = sd.numpy()
    if model.transform == "moments":
        write_kinetics(adata, keys, model)
    for key, values in seen.items():
        adata.obs[key] = values
    kept = {name: {k: v for k, v in label.items() if v is not None} for name, label in labels.items()}
    adata.uns[keys.uns] = {**kept, "model": model.to_arrays(), "version": __version__}
