"""Fit one vector field to the evidence of motion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._keys import DEFAULT, Keys
from scnode._settings import logger
from scnode._typing import RandomState
from scnode._validation import check_cells

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode.data import Target
    from scnode.model import LatentODE
    from scnode.tl._space import FitSpace

_MAX_EPOCHS = 200


def fit(
    adata: AnnData,
    *,
    pseudotime_key: str | None = None,
    velocity_key: str | None = None,
    time_key: str | None = None,
    lineage_key: str | None = None,
    weights: Mapping[str, float] | None = None,
    use_rep: str | None = None,
    layer: str | None = None,
    encoder: str = "pca",
    decoder: str | None = None,
    n_latent: int | None = None,
    batch_key: str | None = None,
    field: str = "mlp",
    noise: bool = False,
    n_members: int = 5,
    solver: str = "auto",
    gradient: str = "auto",
    rtol: float = 1e-3,
    atol: float = 1e-4,
    holdout: Sequence[float] | None = None,
    max_epochs: int | None = None,
    batch_size: int = 512,
    lr: float = 3e-3,
    accelerator: str = "auto",
    devices: str | int = "auto",
    trainer_kwargs: Mapping[str, Any] | None = None,
    rng: RandomState = 0,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Learn a latent vector field :math:`\dot z = f_\theta(z)` from every evidence of motion at hand.

    Cells are encoded, each source of evidence becomes a local velocity with a standard error, and an ensemble of
    fields is regressed on their precision-weighted mean, then polished on short trajectories with the solver in the
    loop. With no evidence named, the first of these that is present is used: a stored velocity layer, spliced and
    unspliced counts, a known pseudotime column, diffusion pseudotime from ``uns["iroot"]``.

    Parameters
    ----------
    adata
        Cells by genes; raw counts or log-normalised values, dense, sparse, view or backed. `X` is never changed.
    pseudotime_key
        `obs` column with a pseudotime.
    velocity_key
        Layer with a gene velocity, or `obsm` entry with a velocity in the latent space.
    time_key, lineage_key, noise, holdout
        Not available in this version; naming one is an error.
    weights
        Factor by source, ``{"pseudotime": 1.0, "velocity": 1.0}``.
    use_rep
        `obsm` entry to use as the latent space, such as an embedding by scVI or Harmony.
    layer
        Layer to encode instead of `X`.
    encoder
        ``"pca"``; ``"autoencoder"`` or ``"autoencoder-huber"`` on log-normalised expression; ``"vae"`` or
        ``"vae-zinb"`` on raw counts with a negative binomial or a zero-inflated likelihood. All but the first are
        fitted before the field, and know expression by its 2000 most variable genes.
    decoder
        ``"linear"`` regresses log-normalised expression on the representation named by `use_rep`, by ridge
        regression; without it such a model has no genes.
    n_latent
        Dimension of the latent space, by default 20 principal components or 10 learned coordinates.
    batch_key
        `obs` column of the batches that a VAE keeps out of the latent space.
    field
        Kind of field; ``"mlp"``.
    n_members
        Size of the bootstrap ensemble.
    solver, gradient, rtol, atol
        For the solver in the loop, see :func:`scnode.ode.solve`.
    max_epochs
        Upper bound of the regression stage, 200 by default; a learned encoder takes up to half of it and the polish an
        eighth. All stop early.
    batch_size, lr
        Cells per step and learning rate.
    accelerator, devices, trainer_kwargs
        Passed to :class:`lightning.Trainer`.
    rng
        Source of all randomness.
    key_added
        Name of the run, under which all keys are written.
    copy
        Return a changed copy and leave `adata` as it is.

    Returns
    -------
    AnnData or None
        Writes ``obsm["X_scnode"]`` (cell, latent), ``obsm["velocity_scnode"]`` (cell, latent; per unit of the clock),
        ``obs["scnode_time"]`` the clock in [0, 1], ``obs["scnode_velocity_sd"]`` the ensemble's root mean square
        deviation, and ``uns["scnode"]`` with `params`, `history`, `report` (`evidence`, the
        `share` of each source in the mix, the `agreement` of each pair by cell, and with `decoder` its `name` and
        `explained_variance`), `model` and `version`.

    Raises
    ------
    ScnodeError
        Input that cannot be used; `adata` is then unchanged.
    EvidenceError
        No evidence of motion, or evidence that cannot be used.

    References
    ----------
    :cite:p:`Chen2018`, :cite:p:`Lopez2018`
    """
    params = {k: v for k, v in locals().items() if k not in {"adata", "copy", "rng", "trainer_kwargs"}}
    from scnode.tl._learned import Training
    from scnode.tl._space import build_space

    _refuse_unavailable(time_key=time_key, lineage_key=lineage_key, noise=noise or None, holdout=holdout)
    _check_options(field=field, n_members=n_members, max_epochs=max_epochs, batch_size=batch_size, lr=lr)
    check_cells(adata)
    source = np.random.default_rng(rng)
    trainer_options = {"accelerator": accelerator, "devices": devices, **(trainer_kwargs or {})}
    epochs = max_epochs or _MAX_EPOCHS
    space = build_space(
        adata,
        use_rep=use_rep,
        layer=layer,
        n_latent=n_latent,
        encoder=encoder,
        decoder=decoder,
        batch_key=batch_key,
        training=Training(source, max_epochs=math.ceil(epochs / 2), trainer_options=trainer_options),
    )
    target, clock, sources = _evidence(adata, space, pseudotime_key, velocity_key, weights)
    model = _new_model(space, n_members, source)
    history = _train(
        model,
        space,
        target,
        max_epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        solve_options={"solver": solver, "gradient": gradient, "rtol": rtol, "atol": atol},
        trainer_options=trainer_options,
        rng=source,
    )
    result = adata.copy() if copy else adata
    report = {"evidence": sources, "share": target.share, "agreement": target.agreement, **space.report}
    history = [*space.history, *history]
    _write(result, Keys(key_added), model, space.latent, clock, params=params, history=history, report=report)
    return result if copy else None


def _refuse_unavailable(**options: object) -> None:
    """An option that is accepted and ignored would be believed."""
    mend = {
        "time_key": "Pass numeric days as pseudotime_key=, which regresses the state on them locally.",
        "lineage_key": "Leave it out.",
        "noise": "Leave it out; the field is then the drift alone.",
        "holdout": "Fit a subset: scnode.tl.fit(adata[kept].copy()).",
    }
    for name, value in options.items():
        if value is not None:
            raise ScnodeError(f"{name}={value!r} is not available in this version. {mend[name]}")


def _check_options(*, field: str, **numbers: float | None) -> None:
    if field != "mlp":
        raise ScnodeError(f"field={field!r} is unknown. Pass 'mlp'.")
    for name, value in numbers.items():
        if value is not None and not value > 0:
            raise ScnodeError(f"{name}={value} must be positive. Leave it out for the default.")


def _evidence(
    adata: AnnData,
    space: FitSpace,
    pseudotime_key: str | None,
    velocity_key: str | None,
    weights: Mapping[str, float] | None,
) -> tuple[Target, np.ndarray, list[str]]:
    """The mix, in units of the clock."""
    from dataclasses import replace

    from scnode.data import find_evidence, mix, velocity_clock

    sources = find_evidence(adata, space.evidence, pseudotime_key=pseudotime_key, velocity_key=velocity_key)
    target = mix(sources, weights=weights)
    clock = next((s.clock for s in sources if s.clock is not None), None)
    if clock is None:
        near = space.evidence.neighbors.first(30)
        clock = velocity_clock(space.latent, target.velocity, near)
        target = replace(target, velocity=target.velocity / _pace(space.latent, target.velocity, clock, near.index))
    for pair, cosines in target.agreement.items():
        names, mean = pair.replace("|", " and "), float(np.nanmean(cosines))
        if mean < 0:
            logger.warning("%s contradict each other: mean cosine %.2f.", names, mean)
        else:
            logger.info("Agreement of %s: mean cosine %.2f.", names, mean)
    return target, clock, [s.source for s in sources]


def _pace(latent: np.ndarray, velocity: np.ndarray, clock: np.ndarray, index: np.ndarray) -> float:
    """Time that the clock shows for a step to a neighbour, over the time that the velocity needs for it."""
    move = latent[index] - latent[:, None]
    square = np.maximum((velocity**2).sum(1, keepdims=True), np.finfo(float).tiny)
    needed = np.einsum("nkd,nd->nk", move, velocity) / square
    shown = clock[index] - clock[:, None]
    return max(float((needed * shown).sum() / max((needed**2).sum(), np.finfo(float).tiny)), 1e-6)


def _new_model(space: FitSpace, n_members: int, rng: np.random.Generator) -> LatentODE:
    import torch

    from scnode.model import LatentODE
    from scnode.nn import MLPField

    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    field = MLPField(space.latent.shape[1], n_members=n_members, generator=generator)
    return LatentODE(
        field,
        encoder=space.encoder,
        genes=space.genes,
        transform=space.transform,
        use_rep=space.use_rep,
        batch_key=space.batches.key if space.batches else None,
        batches=space.batches.names if space.batches else (),
    )


def _train(
    model: LatentODE, space: FitSpace, target: Target, *, rng: np.random.Generator, **options: Any
) -> list[dict[str, Any]]:
    from scnode.data import draw_paths, surroundings
    from scnode.train import Examples, fit_field

    near = space.evidence.neighbors.first(30)
    index, times = draw_paths(space.latent, target.velocity, near, n_steps=3, rng=rng)
    smooth = near.mean(space.latent)
    # A walker that could not go on stays, and a solver's clock must not: the extra time is negligible.
    steps = np.maximum(np.diff(times, axis=1), 1e-4)
    times = np.concatenate([np.zeros((len(times), 1)), np.minimum(steps, np.quantile(steps, 0.95)).cumsum(1)], axis=1)
    around = surroundings(space.latent, target.velocity, rng=rng)
    examples = Examples(space.latent, target.velocity, target.precision, *around, smooth[index], times)
    return fit_field(model.field, examples, rng=rng, **options)


def _write(
    adata: AnnData,
    keys: Keys,
    model: LatentODE,
    latent: np.ndarray,
    clock: np.ndarray,
    *,
    params: dict[str, Any],
    history: list[dict[str, Any]],
    report: dict[str, Any],
) -> None:
    import pandas as pd
    import torch

    from scnode import __version__

    states = torch.as_tensor(latent, dtype=torch.float32)
    with torch.no_grad():
        velocity, sd = model.velocity(states)
    if not torch.isfinite(velocity).all():
        raise ScnodeError(
            "The fitted field is not finite: the evidence is degenerate, as with most cells identical. Drop duplicated "
            "cells, or lower lr=."
        )
    adata.obsm[keys.latent] = states.numpy()
    adata.obsm[keys.velocity] = velocity.numpy()
    adata.obs[keys.time] = clock
    adata.obs[keys.velocity_sd] = sd.numpy()
    adata.uns[keys.uns] = {
        "params": {k: dict(v) if isinstance(v, Mapping) else v for k, v in params.items() if v is not None},
        "history": pd.DataFrame(history),
        "report": report,
        "model": model.to_arrays(),
        "version": __version__,
    }
