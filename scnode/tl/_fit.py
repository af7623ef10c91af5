"""Fit one vector field to the evidence of motion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scnode._keys import DEFAULT, Keys
from scnode._random import random_source
from scnode._typing import RandomState
from scnode.tl._control import arms_of, key_list

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from scnode.nn import Field

_MAX_EPOCHS = 200


def fit(
    adata: AnnData,
    *,
    pseudotime_key: str | None = None,
    rescale_clock: bool = False,
    velocity_key: str | None = None,
    time_key: str | None = None,
    lineage_key: str | None = None,
    coupling_key: str | None = None,
    growth_key: str | None = None,
    unbalanced: bool = False,
    control_key: str | Sequence[str] | None = None,
    weights: Mapping[str, float] | None = None,
    use_rep: str | None = None,
    layer: str | None = None,
    encoder: str = "pca",
    decoder: str | None = None,
    n_latent: int | None = None,
    batch_key: str | None = None,
    field: str | Field = "mlp",
    genes: Sequence[str] | None = None,
    time_dependent: bool = False,
    noise: bool = False,
    restore: bool = True,
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
    resume: str | Path | None = None,
    rng: RandomState = 0,
    key_added: str = DEFAULT,
    copy: bool = False,
) -> AnnData | None:
    r"""Learn a latent vector field :math:`\dot z = f_\theta(z)` from every evidence of motion at hand.

    Cells are encoded, each source of evidence becomes a local velocity with a standard error, and an ensemble of
    fields is regressed on their precision-weighted mean, then polished with the solver in the loop: on short
    trajectories, and where collection times are known on the distance between each snapshot and the one before it,
    carried there by the flow. With no evidence named, the first of these that is present is used: a stored velocity
    layer, spliced and unspliced counts, a known pseudotime column, diffusion pseudotime from ``uns["iroot"]``.

    Parameters
    ----------
    adata
        Cells by genes; raw counts or log-normalised values, dense, sparse, view or backed. `X` is never changed.
    pseudotime_key
        `obs` column with a pseudotime.
    rescale_clock
        Whether to learn how fast this pseudotime runs: an increasing map takes it to a clock on which the middle cell
        of each snapshot has its time of `time_key`, or, without such, that runs as the velocity of `velocity_key` does.
        Needs one of the two; not with a `time_dependent` field of collection times.
    velocity_key
        Layer with a gene velocity, or `obsm` entry with a velocity in the latent space.
    time_key
        `obs` column with the collection time of every cell: numbers, or labels such as "E15.5" that
        :func:`scnode.pp.time` reads. Its real spacing sets the clock.
    lineage_key
        `obs` column of clone barcodes (missing where a cell has none) or `obsm` matrix (cell, clone); needs `time_key`.
    coupling_key
        `obsp` entry (cell, cell) with couplings of successive times, such as moscot's; without it they are exact
        optimal transport.
    growth_key
        `obs` column with the net rate g of division and death of every cell, per unit of `time_key`: ln 2 over the time
        of a doubling. An earlier cell then counts :math:`e^{g\,\Delta t}` times, in the couplings and where snapshots
        are compared, so that cells that multiply are not mistaken for cells that come from elsewhere.
    unbalanced
        Learn such rates from the snapshots, relative to their mean, by unbalanced optimal transport, or from the rows
        of `coupling_key`; those of `growth_key` are then what is expected. Not with `control_key`.
    control_key
        `obs` column or columns of what each cell is under, constant over its life: a numeric dose, divided by its
        largest absolute value (take logarithms before, where doses span decades); a boolean; or a categorical, one
        input for each category but the first, the reference. The field is then a :class:`scnode.nn.ControlledField`
        :math:`f_\theta(z, u)`, or the one passed that was made with as many `n_controls`. Cells are averaged, coupled
        and carried along among those under the same. Cells at the reference of every column are untreated: those of the
        first time start each arm that has no cells there; and where they are seen at one time alone, and times are all
        the evidence, they are taken to be at rest, and :math:`f_\theta(z, 0) = 0`.
    weights
        Factor by source, ``{"pseudotime": 1.0, "velocity": 1.0, "time": 1.0, "lineage": 1.0}``.
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
        Kind of field, a key of :data:`scnode.nn.FIELDS`, or a :class:`scnode.nn.Field` to start from, whose own
        ensemble then counts. With `control_key` the default is ``"controlled"``.
    genes
        Of ``field="rna"``; by default up to 150 whose counts follow its kinetics best.
    time_dependent
        Fit :math:`\dot z = f_\theta(t, z)`, whose time is the clock of the cells; where `time_key` sets it, evidence is
        averaged over cells of one time alone. Not for a clock that is a phase.
    noise
        Fit a diffusion :class:`scnode.nn.Diffusion` as well, :math:`dz = f(z)\,dt + G(z)\,dW`. Its level is that of
        short walks over smoothed states, not the cells' own noise, which snapshots do not determine: see the user
        guide. The drift is that of ``noise=False``, except that snapshots, where there are such, are then fitted with
        the noise.
    restore
        Whether the field leads back to the cells from where there are none, and beyond the reach of its examples is
        that of the rim with a pull back to it. Without, nothing is said of these places: trajectories may leave the
        cells for good, and what the field extrapolates there is its own.
    n_members
        Size of the bootstrap ensemble.
    solver, gradient, rtol, atol
        For the solver in the loop, see :func:`scnode.ode.solve`.
    holdout
        Times of `time_key` whose cells are kept out of the encoder, the evidence, the training and its early stopping;
        they are placed afterwards. A representation named by `use_rep` may have seen them all the same.
    max_epochs
        Upper bound of the regression stage, 200 by default; a learned encoder takes up to half of it, the polish an
        eighth or, of a time course, a third. All stop early.
    batch_size, lr
        Cells per step and learning rate.
    accelerator, devices, trainer_kwargs
        Passed to :class:`lightning.Trainer`.
    resume
        Folder for the state of the fit after each epoch. A fit that was cut off goes on from there when called again
        with the same cells, arguments and number of threads, and ends as if it had not been, on a CPU bit for bit;
        one that was through is read back. The folder is left to you: delete it once the result is kept.
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
        ``obsm["scnode_evidence"]`` the velocity that it was fitted to (NaN where no source speaks of a cell),
        ``obs["scnode_time"]`` the clock (0 to 1 over the cells or times that the fit has seen, with `rescale_clock` and
        `time_key` also beyond for cells ahead of the last or behind the first of these; where velocities alone
        set it and go round, the phase on their cycle, in [0, 1) from where cells are sparsest in phase, and its unit
        is one period),
        ``obs["scnode_velocity_sd"]`` the ensemble's root mean square deviation,
        ``obs["scnode_diffusion"]`` with `noise` the root mean square of :math:`G` over the latent coordinates,
        ``obs["scnode_potential"]`` where `field` is a :class:`scnode.nn.GradientField` (of the ensemble mean, above the
        lowest cell, in squared latent units per unit of the clock),
        ``obs["scnode_growth"]`` with `growth_key` or `unbalanced` the rate at which each cell multiplies (per unit of
        `time_key`; learned, the mean of :math:`e^{g\,\Delta t}` over a snapshot is 1, the last snapshot has the rates
        of its origins, and cells of times held out have NaN),
        ``obs["scnode_agreement_<source>"]`` the cosine of each source with the fitted velocity, and ``uns["scnode"]``
        with `params`, `history`, `report`, `model` and `version`. The report holds `evidence`, the `share` of each
        source in the mix, the `agreement` of each pair of sources (``"time|velocity"``) and of each with the fit
        (``"time|fit"``) by cell, `notes` on sources and genes that contradict the rest, the `summary` that
        is logged last, the `clock` (its `kind`, ``"path"`` or ``"cycle"``, and from velocities alone the shares of
        their flow that a `potential` and one `winding` beyond it explain, and the share of cells `turning` along; with
        `rescale_clock` the source that it is `scaled_by`, and beside it the `clock_map`, a table of `pseudotime` and
        `clock`), with `time_key` the `time_unit` (`key`, `unit`, `origin` and `span` of the clock, times `kept`), with
        `growth_key` or `unbalanced` the `growth` (its `source`, its standard `deviation` over the cells, and `numbers`,
        the rate at which the number of cells changes from each time to the next, which is growth where equal shares
        were collected), with `control_key` the `control` (`names` of the inputs, `reference` levels, and whether the
        field is at `rest` without input), with `noise` its `level` (mean of ``obs["scnode_diffusion"]``), the median
        `peclet` number
        :math:`\|f\|^2 \tau / \mathrm{tr}\,G G^\top` with :math:`\tau` the unit of the clock, and what it is
        `fitted_to`, and with `decoder` its `name` and `explained_variance`; of a gradient field as `field` its
        :meth:`scnode.nn.GradientField.report`; of a
        :class:`scnode.nn.StoichiometricField` also `conserved`, arrays with an entry for each conserved quantity: its
        `name`, `coefficients` of the `species`, `mean` and `spread` (standard deviation) over the cells, and `drift`,
        the most that it changes along solves from up to 500 cells over one unit of the clock. With ``field="rna"`` the
        state is unspliced and then spliced abundance, each gene in a unit of its own; ``var["scnode_beta"]`` and
        ``var["scnode_gamma"]`` (per unit of the clock) and the layers ``scnode_unspliced``, ``scnode_spliced`` (counts
        per 10,000 spliced, averaged over neighbours) and ``scnode_alpha`` (such counts per unit of the clock) are NaN
        for other genes; `genes` in the report holds their `names`, `agreement` with the kinetics, and whether a gene
        has its `own_rates`.

    Raises
    ------
    ScnodeError
        Input that cannot be used; `adata` is then unchanged.
    EvidenceError
        No evidence of motion, or evidence that cannot be used.

    References
    ----------
    :cite:p:`Bergen2020`, :cite:p:`Chen2018`, :cite:p:`Chizat2018`, :cite:p:`Fanuel2018`, :cite:p:`Lopez2018`,
    :cite:p:`Schiebinger2019`, :cite:p:`Tong2020`, :cite:p:`Weinreb2018`
    """
    params = {k: v for k, v in locals().items() if k not in {"adata", "copy", "resume", "rng", "trainer_kwargs"}}
    params["control_key"] = key_list(control_key)
    from scnode._write import written
    from scnode.data import Controls
    from scnode.tl._annotate import annotate
    from scnode.tl._field import check_field, new_model, train_field
    from scnode.tl._gather import gather
    from scnode.tl._learned import Training
    from scnode.tl._request import asked_folder, asked_snapshots, check_request
    from scnode.tl._rna import check_rna, splice
    from scnode.tl._space import build_space, within_times

    time_dependent = params["time_dependent"] = time_dependent or getattr(field, "time_dependent", False)
    field = check_field(field, adata, use_rep=use_rep, control_key=control_key, time_dependent=time_dependent)
    params["field"] = field if isinstance(field, str) else field.name
    check_rna(field, genes, encoder, use_rep=use_rep, decoder=decoder, batch_key=batch_key)
    check_request(adata, params)
    snapshots = asked_snapshots(adata, time_key, holdout, batch_key)
    controls = None if control_key is None else Controls.of(adata, control_key)
    source, folder = random_source(rng), asked_folder(resume, rng)
    trainer_options = {"accelerator": accelerator, "devices": devices, **(trainer_kwargs or {})}
    epochs = max_epochs or _MAX_EPOCHS
    # Cells of times held out are not even looked at: everything is fitted to the others.
    seen = adata if snapshots is None or snapshots.seen.all() else adata[snapshots.seen]
    space = build_space(
        seen,
        use_rep=use_rep,
        layer=layer,
        n_latent=n_latent,
        encoder=encoder,
        decoder=decoder,
        batch_key=batch_key,
        training=Training(source, max_epochs=math.ceil(epochs / 2), trainer_options=trainer_options, resume=folder),
        reuse=seen is adata,
    )
    seen_snapshots = None if snapshots is None else snapshots.of_seen()
    time_alone = not (lineage_key or pseudotime_key or velocity_key)
    space = space.under(arms_of(seen, controls, seen_snapshots, time_alone=time_alone))
    if time_dependent and seen_snapshots is not None:
        space = within_times(space, seen_snapshots)
    gathered = gather(
        seen,
        space,
        seen_snapshots,
        controls=controls,
        weights=weights,
        rng=source,
        pseudotime_key=pseudotime_key,
        rescale_clock=rescale_clock,
        velocity_key=velocity_key,
        lineage_key=lineage_key,
        coupling_key=coupling_key,
        growth_key=growth_key,
        unbalanced=unbalanced,
    )
    if params["field"] == "rna":
        space, gathered = splice(seen, space, gathered, genes)
    model = new_model(space, field, n_members, source, noise=noise, controls=controls, time_dependent=time_dependent)
    fitted = train_field(
        model,
        space,
        gathered,
        seen_snapshots,
        max_epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        solve_options={"solver": solver, "gradient": gradient, "rtol": rtol, "atol": atol},
        trainer_options=trainer_options,
        rng=source,
        restore=restore,
        resume=folder,
    )
    with written(adata, copy=copy) as result:
        annotate(
            result,
            Keys(key_added),
            model,
            space=space,
            gathered=gathered,
            snapshots=snapshots,
            params=params,
            fitted=fitted,
        )
    return result if copy else None
