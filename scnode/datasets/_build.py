"""Assemble a `Network` gene by gene, with levels relative to each gene's maximum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ._network import Edges, Network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Regulation:
    """One edge; `threshold` is a share of the regulator's maximal spliced level."""

    regulator: str
    sign: int = 1
    threshold: float = 0.4
    hill: int = 3
    weight: float = 1.0


@dataclass
class _Gene:
    name: str
    role: str
    level: float
    beta: float
    gamma: float
    basal: float
    constitutive: float
    inputs: tuple[Regulation, ...]


@dataclass
class NetworkBuilder:
    """Collects genes; whatever a call leaves open is drawn from `rng`.

    `speed` is the time scale: degradation rates are drawn around it, splicing rates are 2.5 to 6
    times the degradation rate, and maximal spliced levels are lognormal around 8 molecules.
    """

    rng: np.random.Generator
    speed: float = 0.5
    genes: list[_Gene] = field(default_factory=list)

    def add(
        self,
        name: str,
        inputs: Sequence[Regulation] = (),
        *,
        role: str = "target",
        gamma: float | None = None,
        splicing: float | None = None,
        level: float | None = None,
        basal: float = 0.01,
        constitutive: float = 1.0,
        rate_factor: float = 1.0,
    ) -> None:
        """Add a gene; `splicing` is beta / gamma, `level` the maximal spliced abundance."""
        drawn_gamma, drawn_splicing = self.speed * self.rng.uniform(0.7, 1.8), self.rng.uniform(2.5, 6.0)
        drawn_level = 8.0 * self.rng.lognormal(0.0, 0.5)
        gamma = (drawn_gamma if gamma is None else gamma) * rate_factor
        beta = gamma * (drawn_splicing if splicing is None else splicing)
        level = drawn_level if level is None else level
        self.genes.append(_Gene(name, role, level, beta, gamma, basal, constitutive, tuple(inputs)))

    def draw_inputs(self, regulators: Sequence[str]) -> list[Regulation]:
        """One or two activators of `regulators` with drawn thresholds and steepness."""
        n = min(len(regulators), 1 + int(self.rng.random() < 0.4))
        chosen = self.rng.choice(len(regulators), size=n, replace=False)
        return [
            Regulation(regulators[i], 1, self.rng.uniform(0.25, 0.6), int(self.rng.integers(2, 5)), 1.0 / n)
            for i in sorted(chosen.tolist())
        ]

    def add_followers(self, programmes: Mapping[str, tuple[str, Sequence[str]]], deal: Sequence[str], n: int) -> None:
        """Add `n` genes of the kinds in `deal`, in turn; `programmes` maps a kind to its role and regulators."""
        numbers = dict.fromkeys(programmes, 0)
        for k in range(n):
            kind = deal[k % len(deal)]
            numbers[kind] += 1
            role, regulators = programmes[kind]
            inputs = self.draw_inputs(regulators) if regulators else []
            self.add(f"{kind}_{numbers[kind]}", inputs, role=role, constitutive=self.rng.uniform(0.3, 0.7))

    def build(self) -> Network:
        """Freeze the genes collected so far."""
        level = np.array([gene.level for gene in self.genes])
        gamma = np.array([gene.gamma for gene in self.genes])
        return Network(
            names=tuple(gene.name for gene in self.genes),
            roles=tuple(gene.role for gene in self.genes),
            alpha_max=level * gamma,
            beta=np.array([gene.beta for gene in self.genes]),
            gamma=gamma,
            basal=np.array([gene.basal for gene in self.genes]),
            constitutive=np.array([gene.constitutive for gene in self.genes]),
            activators=self._edges(1),
            repressors=self._edges(-1),
        )

    def _edges(self, sign: int) -> Edges:
        place = {gene.name: i for i, gene in enumerate(self.genes)}
        rows = [
            (place[edge.regulator], i, edge.threshold * self.genes[place[edge.regulator]].level, edge.hill, edge.weight)
            for i, gene in enumerate(self.genes)
            for edge in gene.inputs
            if edge.sign == sign
        ]
        table = np.array(rows, dtype=np.float64).reshape(-1, 5)
        return Edges(
            table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2], table[:, 3].astype(int), table[:, 4]
        )
