"""Genes that were measured and are not of the model, by their regression on the latent state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError
from scnode._validation import near
from scnode.data import read_expression

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Tensor

    from scnode._keys import Keys
    from scnode.model import LatentODE

LEAST_EXPLAINED = 0.05
"""Share of a gene's variance that the latent state must explain in cells left out."""

_N_FOLDS = 5


@dataclass(frozen=True)
class Regression:
    r"""Expression :math:`a\cdot z + c` of a gene, and the share of its variance explained in cells left out."""

    weights: Tensor
    offset: Tensor
    explained: float


def regress_outside(adata: AnnData, model: LatentODE, keys: Keys, genes: Sequence[str]) -> dict[str, Regression]:
    """Ridge regressions of those of the genes that are not of the model; all genes are checked to vary."""
    names = set(adata.var_names.astype(str))
    for gene in genes:
        if gene not in names and gene not in model.genes:
            raise ScnodeError(
                f"{gene!r} is neither among the {len(model.genes)} genes of the model nor in adata.var_names. "
                f"{near(gene, [*model.genes, *adata.var_names])}"
            )
    outside = [gene for gene in genes if gene not in model.genes]
    layer = adata.uns[keys.uns].get("params", {}).get("layer")
    _check_varying(adata, [gene for gene in genes if gene in names], layer)
    if not outside:
        return {}
    expression = read_expression(adata, layer=layer)
    latent = np.asarray(adata.obsm[keys.latent], dtype=float)
    found = {}
    for gene, column in zip(outside, adata.var_names.get_indexer(outside), strict=True):
        values = expression.matrix[:, [column]].toarray().astype(float)[:, 0]
        # A model of RNA is linear in counts, not in their logarithms.
        found[gene] = _regression(latent, np.expm1(values) if model.transform == "moments" else values)
        if found[gene].explained < LEAST_EXPLAINED:
            raise ScnodeError(
                f"{gene!r} is not among the genes of the model, and the latent state explains "
                f"{found[gene].explained:.1%} of its variance in cells left out, below {LEAST_EXPLAINED:.0%}: holding "
                "it would mean little. Name another gene, or fit with a larger n_latent=."
            )
    return found


def _check_varying(adata: AnnData, genes: Sequence[str], layer: str | None) -> None:
    for gene in genes:
        one = adata[:, gene]
        column = one.X if layer is None or layer not in one.layers else one.layers[layer]
        if column is None:
            continue
        values = np.asarray(column.toarray() if hasattr(column, "toarray") else column, dtype=float)
        if np.ptp(values) == 0:
            raise ScnodeError(
                f"{gene!r} is constant in the data ({values.flat[0]:g} in every cell): nothing tells what it does. "
                "Name a gene that varies."
            )


def _regression(latent: np.ndarray, values: np.ndarray) -> Regression:
    import torch

    states, target = torch.from_numpy(latent), torch.from_numpy(values)[:, None]
    fold = torch.arange(len(states)) % _N_FOLDS
    error, total = 0.0, 0.0
    for k in range(_N_FOLDS):
        weights, offset = _ridge(states[fold != k], target[fold != k])
        rest = target[fold == k]
        error += float((states[fold == k] @ weights + offset - rest).square().sum())
        total += float((rest - target[fold != k].mean()).square().sum())
    weights, offset = _ridge(states, target)
    return Regression(weights[:, 0].float(), offset[0].float(), 1 - error / total)


def _ridge(states: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    from scnode.nn._least_squares import ridge

    center, mean = states.mean(0), target.mean(0)
    weights = ridge(states - center, target - mean, states.new_ones(len(states)))
    return weights, mean - center @ weights
