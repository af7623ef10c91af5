"""Rates of splicing and degradation from abundances and how they change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import EvidenceError
from scnode.data._support import Support
from scnode.data._surroundings import surroundings

if TYPE_CHECKING:
    import scipy.sparse as sp

    from scnode.data._abundance import Abundance

_CHUNK = 500
_LEAST_SHARED = 20
_MOST_GENES = 150
_LEAST_AGREEMENT = 0.2
_EXTREME = 0.95
# Genes whose rates differ more than this make a field stiff, and their introns are caught at rates of their own.
_MOST_UNEVEN = 30.0
# No gene is believed to be more than this much faster or slower than the typical one.
_MOST_FOLD = 5.0


@dataclass(frozen=True)
class Portrait:
    r"""What the plane of unspliced and spliced abundance says of each gene, one entry a gene.

    Parameters
    ----------
    slowness
        :math:`1/\beta`, not positive where the gene does not follow the kinetics.
    ratio
        :math:`\gamma/\beta`.
    agreement
        Correlation of :math:`\dot s` with :math:`u - (\gamma/\beta) s` over the cells.
    """

    slowness: np.ndarray
    ratio: np.ndarray
    agreement: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """Whether both rates are positive and the gene moves as they say."""
        return (self.slowness > 0) & (self.ratio > 0) & (self.agreement > 0)

    def rates(self) -> tuple[np.ndarray, np.ndarray]:
        r""":math:`\beta` and :math:`\gamma`, positive for every gene.

        A gene that follows the kinetics badly has its :math:`\gamma` drawn to the typical one, in logarithms and by its
        squared agreement: how often introns are caught makes :math:`\beta` differ between genes by orders of magnitude,
        :math:`\gamma` not.
        """
        if not self.usable.any():
            raise EvidenceError(
                "No gene has unspliced counts that lead its spliced ones along the evidence of motion, so that no rate "
                "is positive. Check that the layers are not swapped and that the evidence runs forward in time."
            )
        log = np.log(self.ratio / np.where(self.usable, self.slowness, 1.0))
        typical = np.median(log[self.usable])
        fold = np.where(self.usable, self.agreement**2 * (log - typical), 0.0)
        gamma = np.exp(typical + fold.clip(-np.log(_MOST_FOLD), np.log(_MOST_FOLD)))
        return gamma / self.ratio, gamma


def portrait(unspliced: np.ndarray, spliced: np.ndarray, change: np.ndarray) -> Portrait:
    r"""Regress :math:`u = \dot s/\beta + (\gamma/\beta)\,s` for every gene, all (cell, gene).

    Unspliced abundance, the noisiest of the three, is the response: its noise then biases nothing. Unlike a slope
    through cells at the extremes, which takes :math:`\dot s` to vanish there, it needs no cell at rest. Where the
    ratio comes out negative it is that slope.
    """
    mm, ss, ms, mu, us = (
        (a * b).sum(0)
        for a, b in ((change, change), (spliced, spliced), (change, spliced), (change, unspliced), (unspliced, spliced))
    )
    determinant = mm * ss - ms**2
    solved = determinant > 1e-9 * mm * ss
    slowness, ratio = (
        np.divide(top, determinant, out=np.zeros_like(top), where=solved)
        for top in (mu * ss - us * ms, us * mm - mu * ms)
    )
    ratio = np.where(ratio > 0, ratio, _extreme_slope(unspliced, spliced))
    return Portrait(slowness, ratio, _correlation(change, unspliced - ratio * spliced))


def _extreme_slope(unspliced: np.ndarray, spliced: np.ndarray) -> np.ndarray:
    """Slope through the origin over the cells with least and most of both, as of a steady state."""
    u, s = (a / np.maximum(a.max(0), np.finfo(float).tiny) for a in (unspliced, spliced))
    low, high = np.quantile(u + s, [1 - _EXTREME, _EXTREME], axis=0)
    kept = ((u + s) <= low) | ((u + s) >= high)
    square = (kept * spliced**2).sum(0)
    return np.divide((kept * unspliced * spliced).sum(0), square, out=np.ones_like(square), where=square > 0)


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a - a.mean(0), b - b.mean(0)
    size = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return np.divide((a * b).sum(0), size, out=np.zeros_like(size), where=size > 0)


def kinetic_genes(abundance: Abundance, along: sp.csr_matrix) -> np.ndarray:
    """Columns of the genes that follow the kinetics best, by agreement, in the order of the genes; at most 150.

    Candidates have both kinds of molecules in 20 cells, and rates within a factor of 30 of each other.
    """
    candidates = np.flatnonzero(abundance.shared() >= _LEAST_SHARED)
    agreement = np.full(len(candidates), -1.0)
    for part in np.array_split(np.arange(len(candidates)), len(candidates) // _CHUNK + 1):
        if len(part):
            unspliced, spliced = abundance.moments(candidates[part])
            found = portrait(unspliced, spliced, along @ spliced)
            even = np.abs(np.log(found.ratio)) < np.log(_MOST_UNEVEN)
            agreement[part] = np.where(found.usable & even, found.agreement, -1.0)
    best = np.argsort(-agreement, kind="stable")[:_MOST_GENES]
    best = best[agreement[best] > _LEAST_AGREEMENT]
    if not len(best):
        raise EvidenceError(
            f"None of {len(candidates)} genes with spliced and unspliced counts in {_LEAST_SHARED} cells or more moves "
            "as splicing would have it. Pass genes= to choose all the same, or leave field='rna' out."
        )
    return np.sort(candidates[best])


@dataclass(frozen=True)
class Kinetics:
    r"""Where a field of :math:`\dot u = \alpha - \beta u`, :math:`\dot s = \beta u - \gamma s` starts, each (gene,).

    Parameters
    ----------
    beta, gamma
        Per unit of the clock.
    level
        Typical :math:`\alpha`, in units of the gene per unit of the clock.
    """

    beta: np.ndarray
    gamma: np.ndarray
    level: np.ndarray

    @classmethod
    def of(cls, found: Portrait, states: np.ndarray, velocity: np.ndarray) -> Kinetics:
        """From the portrait of the genes, and cells with their motion (cell, 2 gene)."""
        beta, gamma = found.rates()
        made = _transcription(beta, states, velocity).mean(0)
        return cls(beta, gamma, np.maximum(made, 1e-3 * beta * states[:, : len(beta)].mean(0)) + 1e-6)

    def obeyed(self, states: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """The velocity with its spliced half replaced by splicing less degradation, (cell, 2 gene).

        Least squares on the spliced half would move the rates to where noise of u and s biases them.
        """
        u, s = np.split(states, 2, axis=1)
        return np.concatenate([velocity[:, : len(self.beta)], self.beta * u - self.gamma * s], axis=1)

    def around(
        self, states: np.ndarray, velocity: np.ndarray, *, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """States around the cells, and the velocity that they have where transcription is that of the nearest cells.

        Splicing and degradation then lead back to the cells by themselves. Both (cell, 2 gene).
        """
        outside = surroundings(states, velocity, rng=rng)[0].clip(0)
        nearest = Support(states).nearest(outside)[1]
        made = _transcription(self.beta, states, velocity)[nearest].mean(1)
        u, s = np.split(outside, 2, axis=1)
        return outside, np.concatenate([made - self.beta * u, self.beta * u - self.gamma * s], axis=1)


def _transcription(beta: np.ndarray, states: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    n = len(beta)
    return (velocity[:, :n] + beta * states[:, :n]).clip(0)
