"""The state of a gray-box model of RNA: unspliced and spliced abundance of chosen genes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._settings import logger
from scnode.data import Kinetics, derivative_along, kinetic_genes, pace_of, portrait, read_abundance

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode._keys import Keys
    from scnode.data import Neighbors
    from scnode.model import LatentODE
    from scnode.nn import Field, Moments, RNAField
    from scnode.tl._gather import Gathered
    from scnode.tl._space import FitSpace

_CHUNK = 4096
_NOT_ITS_OWN = {
    "use_rep": "The neighbours of its cells are those of principal components. Leave it out.",
    "decoder": "Its state is gene expression. Leave it out.",
    "batch_key": "Correct the layers first, or leave it out.",
}


def check_rna(field: str | Field, genes: Sequence[str] | None, encoder: str, **others: str | None) -> None:
    """Refuse what a model of RNA has no use for, and genes for any other."""
    name = field if isinstance(field, str) else field.name
    if name != "rna":
        if genes is not None:
            raise ScnodeError(f"genes={genes!r} has no effect on field={name!r}. Leave it out, or pass field='rna'.")
        return
    if encoder != "pca":
        raise ScnodeError(f"encoder={encoder!r} has no effect on field='rna': its state is of genes. Leave it out.")
    for argument, value in others.items():
        if value is not None:
            raise ScnodeError(f"{argument}={value!r} has no effect on field='rna'. {_NOT_ITS_OWN[argument]}")


def splice(
    adata: AnnData, space: FitSpace, gathered: Gathered, genes: Sequence[str] | None
) -> tuple[FitSpace, Gathered]:
    """The same cells and motion in the space of abundances, and the rates that a field starts from.

    The velocity of principal components gives every abundance its rate by local regression; the unit of time is then
    that in which the clock itself runs at rate one.
    """
    import torch

    from scnode.nn import Moments

    abundance = read_abundance(adata, space.evidence.neighbors)
    along = derivative_along(space.latent, gathered.target.velocity, space.evidence.neighbors)
    pace = pace_of(along, gathered.clock, periodic=gathered.clock_report["kind"] == "cycle")
    along = along / pace
    columns = kinetic_genes(abundance, along) if genes is None else abundance.columns(genes)
    pair = abundance.moments(columns)
    found = portrait(*pair, along @ pair[1])
    unit = np.sqrt(pair[0].var(0) + pair[1].var(0)) + 1e-6
    states = np.concatenate([moment / unit for moment in pair], axis=1)
    velocity = along @ states
    lifted = [
        replace(s, velocity=derivative_along(space.latent, s.velocity, space.evidence.neighbors) @ states)
        for s in gathered.sources
    ]
    logger.info(
        "Kinetics of %d of %d genes, %d of them by their own rates.", len(columns), adata.n_vars, found.usable.sum()
    )
    mean, scale = (torch.as_tensor(a, dtype=torch.float32) for a in (np.log1p(pair[1]).mean(0), unit))
    return replace(
        space,
        latent=states,
        evidence=replace(space.evidence, latent=states),
        encoder=Moments(mean, scale),
        genes=abundance.genes[columns],
        transform="moments",
        kinetics=Kinetics.of(found, states, velocity),
        report={**space.report, "genes": _report(found, abundance.genes[columns])},
    ), replace(gathered, sources=lifted, target=replace(gathered.target, velocity=velocity))


def _report(found: Any, genes: np.ndarray) -> dict[str, Any]:
    """How well each gene follows the kinetics along the evidence."""
    return {"names": genes.astype(str), "agreement": found.agreement, "own_rates": found.usable}


def _parts(model: LatentODE) -> tuple[RNAField, Moments]:
    """Field and decoder of a model of RNA."""
    from scnode.nn import Moments, RNAField

    if not isinstance(model.field, RNAField) or not isinstance(model.decoder, Moments):
        raise ScnodeError("The model's field and decoder do not belong together. Refit with scnode.tl.fit(adata).")
    return model.field, model.decoder


def moments_of(adata: AnnData, model: LatentODE, neighbors: Neighbors) -> np.ndarray:
    """States (cell, latent) of cells that the model was not fitted to, averaged among themselves."""
    abundance = read_abundance(adata, neighbors)
    place = {gene: i for i, gene in enumerate(abundance.genes)}
    missing = [gene for gene in model.genes if gene not in place]
    if missing:
        raise ScnodeError(
            f"{len(missing)} of the model's {len(model.genes)} genes are not in adata.var_names (first {missing[:3]}): "
            "a model of RNA needs all of its genes. Name them as in the fit."
        )
    pair = abundance.moments(np.array([place[gene] for gene in model.genes]))
    return np.concatenate(pair, axis=1) / np.tile(_parts(model)[1].unit.double().numpy(), 2)


def write_kinetics(adata: AnnData, keys: Keys, model: LatentODE) -> None:
    """Rates of the genes, and abundances and transcription of the cells; NaN for genes outside the model."""
    import torch

    columns, (field, decoder) = adata.var_names.get_indexer(model.genes), _parts(model)
    states = torch.as_tensor(np.asarray(adata.obsm[keys.latent]))
    with torch.no_grad():
        unspliced, spliced = decoder.abundance(states)
        parts = (part.expand(field.n_members, -1, -1) for part in states.split(_CHUNK))
        made = torch.cat([field.transcription(part).mean(0) for part in parts]) * decoder.unit
        rates = {keys.beta: field.beta.mean(0), keys.gamma: field.gamma.mean(0)}
    for key, rate in rates.items():
        values = np.full(adata.n_vars, np.nan, dtype=np.float32)
        values[columns] = rate.numpy()
        adata.var[key] = values
    layers = {keys.unspliced: unspliced, keys.spliced: spliced, keys.alpha: made}
    for key, layer in layers.items():
        values = np.full(adata.shape, np.nan, dtype=np.float32)
        values[:, columns] = layer.numpy()
        adata.layers[key] = values
