"""Cells that mature by themselves while a drug drives them off."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._random import random_source

from ._build import NetworkBuilder, Regulation
from ._collection import SPREAD
from ._integrate import integrate
from ._observe import Sampling, Simulated, categorical, check_request, observe, start_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from ._network import Network

    Floats = NDArray[np.float64]

DURATION = 24.0
HALF_DOSE, HILL = 0.5, 2
INPUT = "Input_TF"
_CORE = ("Base_TF1", "Base_TF2", "Base_TF3", INPUT, "Drug_TF1", "Drug_TF2")
_START = {"Base_TF1": 1.0}
_LEAST = 0.01
_DAY = 24.0
_ON = 0.25


def dose_response(
    *,
    n_cells: int = 2000,
    n_genes: int = 80,
    doses: Sequence[float] = (0.0, 0.25, 0.5, 1.0),
    n_days: int = 4,
    schedule: tuple[Sequence[float], Sequence[float]] | None = None,
    noise: float = 0.05,
    counts: bool = True,
    depth: float = 300.0,
    rng: int | np.random.Generator | None = 0,
) -> AnnData:
    r"""Simulate cells under doses of a drug, collected at several times.

    .. math::

        \dot u_i = \alpha_i(s, c(t)) - \beta_i u_i, \qquad \dot s_i = \beta_i u_i - \gamma_i s_i

    with Hill-type :math:`\alpha_i(s)` and, where `noise` is positive, Langevin noise on both. The drug acts through one
    gene, :math:`\alpha_{\text{Input}} = \alpha^{\max}\big(0.01 + 0.99\,c^2/(0.5^2 + c^2)\big)` [1]_, which starts a
    cascade of two more. Untreated cells mature along a cascade of their own, whose last regulator the drug's last one
    represses. The drug is given to all treated cells at 0 h, when only untreated ones are collected.

    Parameters
    ----------
    n_cells
        Number of cells, divided equally between the collections and there between the doses.
    n_genes
        Number of genes, at least 6.
    doses
        Concentrations :math:`c`, 0 among them.
    n_days
        Number of collections, equally spaced from 0 to 24 h.
    schedule
        Times in hours, the first 0, and factors: from each time until the next, :math:`c` is the dose times its factor.
        By default the dose is there throughout. The same `rng`, `n_genes` and `n_cells` give the same network and
        start cells whatever the schedule.
    noise
        Coefficient of variation that the Langevin noise gives a fully induced gene; 0 for none.
    counts
        Whether `X`, `spliced` and `unspliced` are negative binomial counts or the exact abundances.
    depth
        Mean number of spliced molecules caught per cell; unspliced ones are caught at the same rate.
    rng
        Seed or generator; the same seed gives the same bits.

    Returns
    -------
    AnnData
        With these fields:

        - `X`, `layers['spliced']`, `layers['unspliced']`: CSR, float32.
        - `layers['true_spliced']`, `layers['true_unspliced']`: abundances in molecules.
        - `layers['true_velocity']`: noise-free :math:`\dot s` at the cell's state, molecules per hour.
        - `obs['dose']`; `obs['day']`, time of collection in days of 24 h; `obs['true_time']`, the same in hours;
          `obs['clusters']`, one of Naive, Mature, Responding by the regulators on.
        - `var['alpha_max']`, `var['beta']`, `var['gamma']` (molecules per hour, per hour, per hour), `var['role']`, one
          of regulator, target, inert.
        - `uns['simulation']`: name, parameters, time_unit, count_scale (molecules caught per molecule), duration, and
          `network`, a table of regulator, target, sign.

    Raises
    ------
    ScnodeError
        Where a size, `noise`, `depth`, `doses` or `schedule` is out of range.

    References
    ----------
    .. [1] Goutelle, Maurin, Rougier et al., The Hill equation: a review of its capabilities in pharmacological
       modelling, Fundamental & Clinical Pharmacology 22 (2008).
    """
    check_request("dose_response", n_cells=n_cells, n_genes=n_genes, core=len(_CORE), noise=noise, depth=depth)
    levels = _check_doses(doses, n_days=n_days, n_cells=n_cells)
    times, factors = _check_schedule(schedule)
    generator = random_source(rng)
    network = build_network(n_genes, generator)
    hour, dose = _collect(levels, n_cells, n_days)
    state = start_states(under_dose(network, 0.0), _START, n_cells, SPREAD, generator)
    for level in levels:
        own = dose == level
        state[own] = _run(network, state[own], hour[own], level * factors, times, noise=noise, rng=generator)
    columns: dict[str, Any] = {
        "dose": dose,
        "day": hour / _DAY,
        "true_time": hour,
        "clusters": _clusters(network, state),
    }
    parameters = {"n_cells": n_cells, "n_genes": n_genes, "noise": float(noise), "doses": levels, "n_days": n_days}
    simulated = Simulated(
        name="dose_response",
        network=network,
        state=state,
        obs=columns,
        parameters=parameters | ({} if schedule is None else {"times": times, "factors": factors}),
        extra={"duration": DURATION},
    )
    return observe(simulated, Sampling(counts, depth), generator)


def build_network(n_genes: int, rng: np.random.Generator) -> Network:
    """Build both cascades, what follows them, and inert genes."""
    builder = NetworkBuilder(rng, speed=0.4)
    fixed: dict[str, Any] = {"role": "regulator", "splicing": 4.0, "level": 10.0}
    builder.add("Base_TF1", constitutive=0.01, gamma=0.25, **fixed)
    builder.add("Base_TF2", [Regulation("Base_TF1", -1, 0.3)], gamma=0.3, **fixed)
    repressed = [Regulation("Base_TF2", 1, 0.4), Regulation("Drug_TF2", -1, 0.3)]
    builder.add("Base_TF3", repressed, gamma=0.4, **fixed)
    builder.add(INPUT, constitutive=_LEAST, gamma=0.6, **fixed)
    builder.add("Drug_TF1", [Regulation(INPUT, 1, 0.6, 2)], gamma=0.4, **fixed)
    builder.add("Drug_TF2", [Regulation("Drug_TF1", 1, 0.5, 2)], gamma=0.3, **fixed)
    programmes = {
        "Base_Target": ("target", _CORE[:3]),
        "Drug_Target": ("target", _CORE[3:]),
        "Inert": ("inert", ()),
    }
    deal = ["Base_Target", "Drug_Target", "Base_Target", "Drug_Target", "Inert"]
    builder.add_followers(programmes, deal, n_genes - len(_CORE))
    return builder.build()


def under_dose(network: Network, dose: float) -> Network:
    """The network at a constant concentration."""
    constitutive = network.constitutive.copy()
    bound = dose**HILL / (HALF_DOSE**HILL + dose**HILL)
    constitutive[network.index(INPUT)] = _LEAST + (1 - _LEAST) * bound
    return replace(network, constitutive=constitutive)


def _run(
    network: Network,
    state: Floats,
    hour: Floats,
    dose: Floats,
    times: Floats,
    *,
    noise: float,
    rng: np.random.Generator,
) -> Floats:
    """States at their hours under doses that hold from each of `times` until the next."""
    for level, start, end in zip(dose, times, np.append(times[1:], np.inf), strict=True):
        left = np.minimum(hour, end) - start
        moving = left > 0
        if moving.any():
            state[moving] = integrate(under_dose(network, level), state[moving], left[moving], noise=noise, rng=rng)
    return state


def _collect(doses: Floats, n_cells: int, n_days: int) -> tuple[Floats, Floats]:
    """Hour and dose of every cell; at 0 h all are untreated."""
    day = np.arange(n_cells) % n_days
    dose = doses[(np.arange(n_cells) // n_days) % len(doses)]
    return day * DURATION / (n_days - 1), np.where(day == 0, 0.0, dose)


def _clusters(network: Network, state: Floats) -> Any:
    base, drug = (
        state[:, 1, network.index(name)] / network.s_max[network.index(name)] for name in ("Base_TF3", "Drug_TF2")
    )
    stage = np.where(drug > _ON, "Responding", np.where(base > _ON, "Mature", "Naive"))
    return categorical(stage, ["Naive", "Mature", "Responding"])


def _check_doses(doses: Sequence[float], *, n_days: int, n_cells: int) -> Floats:
    levels = np.unique(np.asarray(doses, dtype=float))
    if not np.isfinite(levels).all() or len(levels) < 2 or levels[0] != 0:
        msg = f"doses={tuple(doses)} must be 0 and positive numbers; call scnode.datasets.dose_response(doses=(0, 1))."
        raise ScnodeError(msg)
    if not isinstance(n_days, int | np.integer) or n_days < 2 or n_cells < n_days * len(levels):
        msg = (
            f"n_days={n_days} of {len(levels)} doses and {n_cells} cells leave no cell to some; call "
            f"scnode.datasets.dose_response(n_days=2) or more, with n_cells at least {max(2, n_days) * len(levels)}."
        )
        raise ScnodeError(msg)
    return levels


def _check_schedule(schedule: tuple[Sequence[float], Sequence[float]] | None) -> tuple[Floats, Floats]:
    if schedule is None:
        return np.zeros(1), np.ones(1)
    times, factors = (np.asarray(part, dtype=float) for part in schedule)
    if (
        len(times) != len(factors)
        or not len(times)
        or times[0] != 0
        or (np.diff(times) <= 0).any()
        or (factors < 0).any()
    ):
        msg = (
            f"schedule={schedule!r} must be increasing hours from 0 and as many factors; call "
            "scnode.datasets.dose_response(schedule=([0, 12], [1, 0]))."
        )
        raise ScnodeError(msg)
    return times, factors
