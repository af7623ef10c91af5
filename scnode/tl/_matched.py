"""Random genes of the mean and variance of those held, and what holding them does to the fates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scnode.data import evenly
from scnode.tl._constraint import Reader, regimen
from scnode.tl._outcomes import group_shares, log_change

if TYPE_CHECKING:
    import torch

    from scnode.nn import Regimen
    from scnode.tl._experiment import Experiment
    from scnode.tl._protocol import Course

_N_CELLS = 500
_N_STARTS = 25


def matched_genes(
    reader: Reader, latent: np.ndarray, genes: Sequence[str], n: int, rng: np.random.Generator
) -> list[list[str]]:
    """Up to `n` draws of genes of the model, each in place of one held, nearest in rank of mean and variance.

    Mean and variance are those of decoded expression over the cells: what the model sees of a gene.
    """
    import torch

    names, places = np.asarray(reader.model.genes), evenly(len(latent), _N_CELLS)
    states = torch.as_tensor(latent[places], dtype=torch.float32)
    with torch.no_grad():
        decoded = reader.model.decoder.decode(states).double()
    free = (decoded.var(0) > 1e-8 * decoded.var(0).max()).numpy() & ~np.isin(names, list(genes))
    moments = np.stack([decoded.mean(0).numpy(), decoded.var(0).numpy()], axis=1)
    sorted_moments = np.sort(moments[free], axis=0)
    ranks = _ranks(sorted_moments, moments[free])
    pools = []
    for gene in genes:
        own = _ranks(sorted_moments, _moments(reader, gene, states, moments))
        pool = names[free][np.argsort(np.square(ranks - own).sum(1), kind="stable")[:n]]
        pools.append(rng.permutation(pool) if len(genes) > 1 else pool)
    return _draws(pools)


def null_effects(
    experiment: Experiment,
    reader: Reader,
    courses: Sequence[Course],
    *,
    ends: tuple[np.ndarray, np.ndarray],
    latent: np.ndarray,
    terminal: np.ndarray,
    n: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Log2 fold changes `null` (draw, fate) of `null_genes` (draw, gene), and `pvalues` (fate,) of those observed.

    All is taken over the same few start cells, whose own ends in both arms are `ends`; nothing where no gene is left.
    """
    few = evenly(len(ends[0]), _N_STARTS)
    draws = matched_genes(reader, latent, [course.gene for course in courses], n, rng) if n else []
    draws = _reachable(experiment, reader, courses, few, draws)
    if not draws:
        return {}
    again = experiment.repeated(few, len(draws))
    there = again.run(_plan(again, reader, courses, draws, len(few)))[:, :, -1]
    shares = group_shares(latent, terminal, there).reshape(len(draws), len(few), *there.shape[1:2], -1)
    before, after = (group_shares(latent, terminal, arm[few]).mean((0, 1)) for arm in ends)
    null = log_change(before, shares.mean((1, 2)), len(few))
    observed = log_change(before, after, len(few))
    # Equal shares differ by rounding.
    larger = np.abs(null) >= np.abs(observed) - 1e-9
    return {"null_genes": np.array(draws), "null": null, "pvalues": (1 + larger.sum(0)) / (1 + len(null))}


def _plan(
    experiment: Experiment, reader: Reader, courses: Sequence[Course], draws: list[list[str]], n_rows: int
) -> Regimen:
    """The genes of every draw at the levels asked, rows (draw * cell)."""
    return regimen(
        courses,
        experiment.horizon,
        lambda which, level: reader.holds([[draw[i] for i in which] for draw in draws], n_rows, level),
    )


def _reachable(
    experiment: Experiment, reader: Reader, courses: Sequence[Course], few: np.ndarray, draws: list[list[str]]
) -> list[list[str]]:
    """Draws whose level at the start some state near each start has."""
    import torch

    if not draws:
        return []
    hold = _plan(experiment, reader, courses, draws, len(few)).at(torch.zeros(()))
    if hold is None:
        return draws
    with torch.no_grad():
        reached = hold.reach(experiment.states[torch.as_tensor(few)].repeat(len(draws), 1))[1]
    kept = reached.reshape(len(draws), -1).all(1).tolist()
    return [draw for draw, can in zip(draws, kept, strict=True) if can]


def _moments(reader: Reader, gene: str, states: torch.Tensor, moments: np.ndarray) -> np.ndarray:
    """Mean and variance of one gene, in log-normalised units."""
    if gene not in reader.outside:
        return moments[reader.model.columns([gene])]
    found = reader.outside[gene]
    values = (states @ found.weights + found.offset).double().clamp_min(0)
    values = values.log1p() if reader.model.transform == "moments" else values
    return np.array([[float(values.mean()), float(values.var())]])


def _ranks(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Ranks in [0, 1] among sorted columns."""
    return np.stack([np.searchsorted(known[:, k], values[:, k]) for k in range(2)], axis=1) / max(len(known), 1)


def _draws(pools: Sequence[np.ndarray]) -> list[list[str]]:
    """Genes of each draw, none twice within one."""
    drawn: list[list[str]] = []
    for k in range(min(len(pool) for pool in pools)):
        one: list[str] = []
        for pool in pools:
            rest = [str(gene) for gene in np.roll(pool, -k) if gene not in one]
            if rest:
                one.append(rest[0])
        if len(one) == len(pools):
            drawn.append(one)
    return drawn
