"""Gene-regulatory networks with unspliced and spliced transcripts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from scnode._errors import ScnodeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from numpy.typing import NDArray

_CUBIC, _QUARTIC = 3, 4


@dataclass(frozen=True)
class Edges:
    """Hill regulation, one entry per edge, sorted by target.

    `threshold` is the regulator's spliced level of half effect; `weight` is the share of the
    target's inducible transcription that an activator holds, and is not used by repressors. `hill` is the
    exponent: 2, 3 or 4.
    """

    regulator: NDArray[np.int64]
    target: NDArray[np.int64]
    threshold: NDArray[np.float64]
    hill: NDArray[np.int64]
    weight: NDArray[np.float64]

    @cached_property
    def groups(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Regulated genes and the first edge of each, for `ufunc.reduceat`."""
        genes, starts = np.unique(self.target, return_index=True)
        return genes, starts

    def power(self, s: NDArray[np.float64]) -> NDArray[np.float64]:
        r""":math:`(s_j / K_{ij})^{n_{ij}}` per edge, shape (cells, edges)."""
        ratio = s[:, self.regulator] / self.threshold
        out = ratio * ratio
        # Products in place of a general power, which would take most of a simulation's time.
        out[:, self._cubic] *= ratio[:, self._cubic]
        out[:, self._quartic] *= out[:, self._quartic]
        return out

    @cached_property
    def _cubic(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.hill == _CUBIC)

    @cached_property
    def _quartic(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.hill == _QUARTIC)

    def subset(self, genes: NDArray[np.int64], n_genes: int) -> Edges:
        """Edges within `genes`, renumbered to their order there."""
        place = np.full(n_genes, -1)
        place[genes] = np.arange(len(genes))
        keep = (place[self.regulator] >= 0) & (place[self.target] >= 0)
        return Edges(
            place[self.regulator[keep]],
            place[self.target[keep]],
            self.threshold[keep],
            self.hill[keep],
            self.weight[keep],
        )


@dataclass(frozen=True)
class Network:
    r"""A closed system of transcription, splicing and degradation.

    .. math::

        \dot u_i = \alpha_i(s) - \beta_i u_i, \qquad \dot s_i = \beta_i u_i - \gamma_i s_i,

        \alpha_i(s) = \alpha_i^{\max}
        \Bigl(b_i + (1 - b_i) \sum_{j \in A_i} w_{ij} \frac{x_{ij}}{1 + x_{ij}}\Bigr)
        \prod_{j \in R_i} \frac{1}{1 + x_{ij}}, \qquad x_{ij} = (s_j / K_{ij})^{n_{ij}}.

    A gene without activators has its bracket at `constitutive`. States are pairs of unspliced and
    spliced abundances in one array of shape (cells, 2, genes); rates are per unit time.
    """

    names: tuple[str, ...]
    roles: tuple[str, ...]
    alpha_max: NDArray[np.float64]
    beta: NDArray[np.float64]
    gamma: NDArray[np.float64]
    basal: NDArray[np.float64]
    constitutive: NDArray[np.float64]
    activators: Edges
    repressors: Edges

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return len(self.names)

    @property
    def s_max(self) -> NDArray[np.float64]:
        r"""Spliced level of full induction, :math:`\alpha^{\max}/\gamma`, shape (genes,)."""
        return self.level_scale[1]

    @cached_property
    def level_scale(self) -> NDArray[np.float64]:
        """Unspliced and spliced levels of full induction, shape (2, genes)."""
        return np.stack([self.alpha_max / self.beta, self.alpha_max / self.gamma])

    def index(self, name: str) -> int:
        """Position of a gene."""
        if name not in self.names:
            msg = f"gene {name!r} is not in the network of {self.n_genes} genes; take one of `adata.var_names`."
            raise ScnodeError(msg)
        return self.names.index(name)

    def where(self, *roles: str) -> NDArray[np.int64]:
        """Positions of the genes of these roles."""
        return np.flatnonzero(np.isin(self.roles, roles))

    def rates(self, s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Transcription rates at spliced levels (cells, genes), same shape."""
        induced = np.broadcast_to(self.constitutive, s.shape).copy()
        genes, starts = self.activators.groups
        if genes.size:
            x = self.activators.power(s)
            share = np.add.reduceat(self.activators.weight * (x / (1.0 + x)), starts, axis=1)
            induced[:, genes] = self.basal[genes] + (1.0 - self.basal[genes]) * share
        genes, starts = self.repressors.groups
        if genes.size:
            induced[:, genes] *= np.multiply.reduceat(1.0 / (1.0 + self.repressors.power(s)), starts, axis=1)
        return self.alpha_max * induced

    def drift(self, state: NDArray[np.float64]) -> NDArray[np.float64]:
        """Time derivative of the noise-free system at states (cells, 2, genes), same shape."""
        u, s = state[:, 0], state[:, 1]
        spliced = self.beta * u
        return np.stack([self.rates(s) - spliced, spliced - self.gamma * s], axis=1)

    def knock_out(self, *names: str) -> Network:
        """Return the network in which these genes are never transcribed."""
        alpha_max = self.alpha_max.copy()
        alpha_max[[self.index(name) for name in names]] = 0.0
        return replace(self, alpha_max=alpha_max)

    def subnetwork(self, genes: NDArray[np.int64]) -> Network:
        """Return the network among `genes`, which must hold all regulators of each of them."""
        return Network(
            names=tuple(self.names[i] for i in genes),
            roles=tuple(self.roles[i] for i in genes),
            alpha_max=self.alpha_max[genes],
            beta=self.beta[genes],
            gamma=self.gamma[genes],
            basal=self.basal[genes],
            constitutive=self.constitutive[genes],
            activators=self.activators.subset(genes, self.n_genes),
            repressors=self.repressors.subset(genes, self.n_genes),
        )

    def upstream(self, names: Iterable[str]) -> NDArray[np.int64]:
        """Sorted positions of `names` and of every gene with a directed path to one of them."""
        found = {self.index(name) for name in names}
        sources = np.concatenate([self.activators.regulator, self.repressors.regulator])
        targets = np.concatenate([self.activators.target, self.repressors.target])
        while new := set(sources[np.isin(targets, sorted(found))].tolist()) - found:
            found |= new
        return np.array(sorted(found), dtype=np.int64)

    def frame(self) -> pd.DataFrame:
        """Edges as a table of regulator, target and sign (+1 activates, -1 represses)."""
        import pandas as pd

        names = np.array(self.names, dtype=object)
        parts = [
            pd.DataFrame({"regulator": names[edges.regulator], "target": names[edges.target], "sign": sign})
            for edges, sign in ((self.activators, 1), (self.repressors, -1))
        ]
        return pd.concat(parts, ignore_index=True)
