"""Sources and genes that run against the rest of the evidence."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from scnode.data._mix import mix
from scnode.metrics import cosine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scnode.data._source import Evidence, Space

_AGAINST = -0.05
_CHUNK = 2048


def contradictions(sources: Sequence[Evidence], space: Space) -> list[str]:
    """One sentence for each source, and for the genes of a velocity, that run against the others."""
    if len(sources) < 2:
        return []
    notes = _of_sources(sources)
    for source in sources:
        if source.gene_rate is not None:
            rest = mix([s for s in sources if s is not source])
            genes = reversed_genes(source.gene_rate, rest.velocity, space)
            if genes:
                shown = ", ".join(genes[:5]) + (" and others" if len(genes) > 5 else "")
                notes.append(f"{len(genes)} genes of {source.source} run against the other evidence: {shown}.")
    return notes


def _of_sources(sources: Sequence[Evidence]) -> list[str]:
    """Of two that disagree neither is the odd one; of more, the one that the mix of the others opposes."""
    if len(sources) == 2:
        first, second = sources
        mean = _mean_cosine(first.velocity, second.velocity)
        if mean < _AGAINST:
            return [f"{first.source} and {second.source} contradict each other: mean cosine {mean:.2f}."]
        return []
    notes = []
    for source in sources:
        others = [s for s in sources if s is not source]
        mean = _mean_cosine(source.velocity, mix(others).velocity)
        united = all(_mean_cosine(a.velocity, b.velocity) > _AGAINST for a, b in combinations(others, 2))
        if mean < _AGAINST and united:
            notes.append(f"{source.source} contradicts the rest of the evidence: mean cosine {mean:.2f}.")
    return notes


def _mean_cosine(a: np.ndarray, b: np.ndarray) -> float:
    each = cosine(a, b)
    return float(np.nanmean(each)) if np.isfinite(each).any() else 0.0


def reversed_genes(rate: np.ndarray, reference: np.ndarray, space: Space) -> list[str]:
    r"""Genes whose velocity has the opposite sign of the reference's, beyond chance.

    With :math:`r_{ig}` the rate of gene g in cell i and :math:`q_{ig}` that of the decoded reference velocity,
    :math:`\rho_g = \sum_i r_{ig} q_{ig} / \sqrt{\sum_i r_{ig}^2 \sum_i q_{ig}^2}`; a gene counts as reversed where
    :math:`\rho_g < -3/\sqrt{n/30}`, as 30 cells that share moments count as one. Fewer than
    about 300 cells therefore name none.

    Parameters
    ----------
    rate
        Shape (cell, encoder gene), zero for genes without a fit.
    reference
        Latent velocity, shape (cell, latent).
    space
        Latent states with an encoder.
    """
    import torch

    if space.encoder is None or space.expression is None or space.genes is None:
        return []
    together, own, other = (np.zeros(rate.shape[1]) for _ in range(3))
    for start in range(0, len(rate), _CHUNK):
        rows = slice(start, start + _CHUNK)
        with torch.no_grad():
            decoded = space.encoder.decode_velocity(*(torch.from_numpy(a[rows]) for a in (space.latent, reference)))
        q, r = decoded.numpy(), rate[rows]
        together, own, other = together + (r * q).sum(0), own + (r**2).sum(0), other + (q**2).sum(0)
    size = np.sqrt(own * other)
    correlation = np.divide(together, size, out=np.zeros_like(size), where=size > 0)
    against = np.flatnonzero(correlation < -3 / np.sqrt(max(len(rate) / 30, 1.0)))
    names = space.expression.genes[space.genes]
    return names[against[np.argsort(correlation[against])]].tolist()
