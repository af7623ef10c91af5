"""The latent space of a fit: an encoder's, or a representation of the user's."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._validation import check_obsm, near
from scnode.data import Neighbors, encode, read_batches, read_expression, variable_genes
from scnode.data._source import Space
from scnode.tl._learned import Training, learn
from scnode.tl._linear_decoder import regress_decoder
from scnode.tl._principal import principal_components

if TYPE_CHECKING:
    from anndata import AnnData

    from scnode.data import Arms, Batches, Expression, Kinetics, Snapshots
    from scnode.nn import Encoder

_N_COMPONENTS = 20
_N_LEARNED = 10
_N_NEIGHBORS = 150
_DECODERS = ("linear",)
_OF_FIELDS = ("moments",)


@dataclass(frozen=True)
class FitSpace:
    """Latent states and what places new ones."""

    latent: np.ndarray
    evidence: Space
    encoder: Encoder | None = None
    genes: np.ndarray | None = None
    transform: str = "none"
    use_rep: str | None = None
    batches: Batches | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    kinetics: Kinetics | None = None

    def under(self, arms: Arms | None) -> FitSpace:
        """The same of cells under an input, where neighbours are of one arm."""
        if arms is None:
            return self
        k = self.evidence.neighbors.index.shape[1]
        near = Neighbors.among(self.latent, arms.crowd, k=k)
        return replace(self, evidence=replace(self.evidence, neighbors=near, arms=arms))


def build_space(
    adata: AnnData,
    *,
    use_rep: str | None,
    layer: str | None,
    n_latent: int | None,
    encoder: str = "pca",
    decoder: str | None = None,
    batch_key: str | None = None,
    training: Training | None = None,
    reuse: bool = True,
) -> FitSpace:
    """Encode the cells, or read where they are; with `reuse`, by stored components where these fit the cells."""
    _check_kinds(encoder, decoder, use_rep=use_rep, batch_key=batch_key)
    if n_latent is not None and not 1 <= n_latent < adata.n_obs:
        raise ScnodeError(f"n_latent={n_latent} must be at least 1 and below the {adata.n_obs} cells. Pass less.")
    if use_rep is not None:
        return _given(adata, use_rep, n_latent=n_latent, layer=layer, decoder=decoder)
    expression = read_expression(adata, layer=layer)
    most = min(adata.n_obs, adata.n_vars) - 1
    if most < 1:
        raise ScnodeError(f"adata has shape {adata.shape}: a latent space needs at least 2 cells and 2 genes.")
    if n_latent is not None and n_latent > most:
        raise ScnodeError(f"n_latent={n_latent} exceeds the {most} components at hand. Pass n_latent={most} or less.")
    size = n_latent or min(_N_COMPONENTS if encoder == "pca" else _N_LEARNED, most)
    if encoder == "pca":
        return _encoded(
            expression, *principal_components(adata, expression, size, fixed=n_latent is not None, reuse=reuse)
        )
    batches = None if batch_key is None else read_batches(adata, batch_key)
    genes = variable_genes(expression.matrix, batch=None if batches is None else batches.apart)
    learned, history = learn(encoder, expression, genes, size, batches=batches, training=training or Training())
    return _encoded(expression, learned, genes, batches, history)


def within_times(space: FitSpace, snapshots: Snapshots) -> FitSpace:
    """The same with neighbours of one time each: cells of other times say nothing of a field that depends on it."""
    k = min(space.evidence.neighbors.index.shape[1], *(len(own) for own in snapshots.rows))
    together = np.stack([snapshots.number, space.evidence.all_arms.crowd])
    near = Neighbors.among(space.latent, np.unique(together, axis=1, return_inverse=True)[1].reshape(-1), k=k)
    return replace(space, evidence=replace(space.evidence, neighbors=near))


def _check_kinds(encoder: str, decoder: str | None, *, use_rep: str | None, batch_key: str | None) -> None:
    from scnode.nn import ENCODERS

    known = [name for name in ENCODERS if name not in (*_DECODERS, *_OF_FIELDS)]
    if encoder not in known:
        raise ScnodeError(f"encoder={encoder!r} is unknown. {near(encoder, known)} Pass one of {known}.")
    if decoder is not None and decoder not in _DECODERS:
        raise ScnodeError(f"decoder={decoder!r} is unknown. Pass 'linear', or leave it out.")
    if use_rep is None and decoder is not None:
        raise ScnodeError(f"decoder={decoder!r} belongs to a representation. Pass use_rep=, or leave decoder= out.")
    if use_rep is not None and encoder != "pca":
        raise ScnodeError(f"use_rep={use_rep!r} takes the place of encoder={encoder!r}. Leave one of them out.")
    if batch_key is not None and (use_rep is not None or not encoder.startswith("vae")):
        where = f"encoder={encoder!r}" if use_rep is None else f"use_rep={use_rep!r}"
        raise ScnodeError(
            f"batch_key={batch_key!r} has no effect on {where}. Pass encoder='vae', or correct batches first and pass "
            "the corrected embedding as use_rep= without batch_key=."
        )


def _given(adata: AnnData, use_rep: str, *, n_latent: int | None, layer: str | None, decoder: str | None) -> FitSpace:
    latent = check_obsm(adata, use_rep, argument="use_rep")
    if n_latent is not None and n_latent > latent.shape[1]:
        raise ScnodeError(f"n_latent={n_latent} exceeds the {latent.shape[1]} columns of {use_rep!r}. Pass less.")
    latent = latent[:, :n_latent]
    if latent.shape[1] >= adata.n_obs:
        raise ScnodeError(
            f"{adata.n_obs} cells cannot span the {latent.shape[1]} dimensions of {use_rep!r}. "
            f"Pass n_latent={adata.n_obs - 1} or less, or more cells."
        )
    space = Space(latent, _neighbors(latent))
    if decoder is None:
        return FitSpace(latent, space, use_rep=use_rep)
    expression = read_expression(adata, layer=layer)
    genes = variable_genes(expression.matrix)
    sample, rows = expression.sample(genes)
    fitted, explained = regress_decoder(latent[rows], sample.matrix)
    report = {"decoder": {"name": decoder, "explained_variance": explained}}
    return FitSpace(
        latent, space, fitted, expression.genes[genes], expression.transform, use_rep=use_rep, report=report
    )


def _neighbors(latent: np.ndarray) -> Neighbors:
    """Neighbourhoods for evidence: wide enough to average noise out, at most a tenth of the cells."""
    return Neighbors.of(latent, k=int(np.clip(len(latent) // 10, 30, _N_NEIGHBORS)))


def _encoded(
    expression: Expression,
    encoder: Encoder,
    genes: np.ndarray,
    batches: Batches | None = None,
    history: list[dict[str, Any]] | None = None,
) -> FitSpace:
    """The cells where the encoder, in double precision, places them."""
    code = None if batches is None else batches.apart
    latent = encode(encoder, expression.matrix[:, genes], batch=code)
    space = Space(latent, _neighbors(latent), expression, encoder, genes, code)
    single = copy.deepcopy(encoder).float()
    return FitSpace(
        latent, space, single, expression.genes[genes], expression.transform, batches=batches, history=history or []
    )
