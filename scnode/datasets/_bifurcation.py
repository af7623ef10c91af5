"""A progenitor that commits to one of two fates through a toggle switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._build import NetworkBuilder
from ._commitment import PROGENITOR, add_cascades, add_master, add_progenitor
from ._differentiation import Differentiation, Request, simulate

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData

    from ._network import Network

_LINEAGES = ("FateA", "FateB")
_N_CORE = len(PROGENITOR) + 3 * len(_LINEAGES)


def bifurcation(
    *,
    n_cells: int = 2500,
    n_genes: int = 160,
    noise: float = 0.05,
    counts: bool = True,
    depth: float = 500.0,
    n_days: int | None = None,
    n_clones: int | None = None,
    n_futures: int = 0,
    rng: int | np.random.Generator | None = 0,
) -> AnnData:
    r"""Simulate progenitors that commit to one of two fates.

    Every cell is the end of its own trajectory of

    .. math::

        \dot u_i = \alpha_i(s) - \beta_i u_i, \qquad \dot s_i = \beta_i u_i - \gamma_i s_i

    with Hill-type :math:`\alpha_i(s)` and, where `noise` is positive, Langevin noise on both. A progenitor
    programme decays, which frees `Commit_TF`; this induces `FateA_TF1` and `FateB_TF1`, which activate
    themselves and repress each other [1]_. Each drives a cascade of two more regulators, of which the first
    helps to repress the other master. Markers follow a fate and inert genes nothing: neither regulates.

    Parameters
    ----------
    n_cells
        Number of cells, taken at uniform times over 30 h where `n_days` is None.
    n_genes
        Number of genes, at least 9.
    noise
        Coefficient of variation that the Langevin noise gives a fully induced gene; 0 for none.
    counts
        Whether `X`, `spliced` and `unspliced` are negative binomial counts or the exact abundances.
    depth
        Mean number of spliced molecules caught per cell; unspliced ones are caught at the same rate.
    n_days
        Number of collections, equally spaced from the start to the end of the run, of equal numbers of cells. Each
        cell starts late or early by a normal delay of sd 10 % of the spacing; its own time stays within the run.
    n_clones
        Number of progenitors that receive a barcode at 9.9 h [2]_; needs three days or more. The descendants of one
        share its delay and its state at that hour, and part by their own noise afterwards. Cells collected before
        have no barcode, nor have 20 % of those after.
    n_futures
        Number of noisy continuations of every cell that its fate probabilities are counted from, 0 for none; with
        100 their standard error is at most 0.05.
    rng
        Seed or generator; the same seed gives the same bits.

    Returns
    -------
    AnnData
        With these fields:

        - `X`, `layers['spliced']`, `layers['unspliced']`: CSR, float32.
        - `layers['true_spliced']`, `layers['true_unspliced']`: abundances in molecules.
        - `layers['true_velocity']`: noise-free :math:`\dot s` at the cell's state, molecules per hour.
        - `obs['true_time']`, the cell's own time in hours; `obs['true_fate']`, the fate that its own state reaches
          without further noise; `obs['clusters']`, one of Progenitor, Early, FateA, FateB.
        - `var['alpha_max']`, `var['beta']`, `var['gamma']` (molecules per hour, per hour, per hour),
          `var['role']`, one of regulator, target, marker, inert.
        - `obs['day']` with `n_days`: time of collection in days of 24 h.
        - `obs['clone']` with `n_clones`: barcode, missing where there is none.
        - `obsm['true_fate_probability']` with `n_futures`: share of each fate (column) among the continuations that
          reach one, over at most the duration of the run; equal shares where none does.
        - `uns['simulation']`: name, parameters, time_unit, count_scale (molecules caught per molecule), duration and,
          with `n_clones`, labelling_time (hours); `network`, a table of regulator, target, sign.
        - `uns['true_knockouts']`: gene, fate, control, knockout, log_fold_change (base 2) of the share of 500
          trajectories that reach each fate, for every regulator and up to 20 markers and inert genes.

    Raises
    ------
    ScnodeError
        Where a size, `noise` or `depth` is out of range, or clones are asked for without three days.

    References
    ----------
    .. [1] Huang, Guo, May & Enver, Bifurcation dynamics in lineage-commitment in bipotent progenitor cells,
       Developmental Biology 305 (2007).
    .. [2] Weinreb, Rodriguez-Fraticelli, Camargo & Klein, Lineage tracing on transcriptional landscapes links state
       to fate during differentiation, Science 367 (2020).
    """
    request = Request(n_cells, n_genes, noise, counts, depth, n_days, n_clones, n_futures)
    return simulate(BIFURCATION, request, rng)


def build_network(n_genes: int, rng: np.random.Generator) -> Network:
    """Build the core of nine regulators and as many followers as `n_genes` leaves."""
    builder = NetworkBuilder(rng)
    _add_core(builder)
    programmes = {
        "Prog_Target": ("target", ("Prog_TF1", "Prog_TF2")),
        "Commit_Target": ("target", ("Commit_TF",)),
        "FateA_Target": ("target", ("FateA_TF1", "FateA_TF2", "FateA_TF3")),
        "FateB_Target": ("target", ("FateB_TF1", "FateB_TF2", "FateB_TF3")),
        "FateA_Marker": ("marker", ("FateA_TF1",)),
        "FateB_Marker": ("marker", ("FateB_TF1",)),
        "Inert": ("inert", ()),
    }
    # Dealt in turn, so that the smallest network has some of each.
    deal = [*programmes, "Prog_Target", "FateA_Target", "FateB_Target", "Inert", "FateA_Target", "FateB_Target"]
    builder.add_followers(programmes, deal, n_genes - _N_CORE)
    return builder.build()


def _add_core(builder: NetworkBuilder) -> None:
    add_progenitor(builder)
    for own, rival in (_LINEAGES, _LINEAGES[::-1]):
        add_master(builder, own, rival)
    add_cascades(builder, _LINEAGES)


BIFURCATION = Differentiation(
    name="bifurcation",
    duration=30.0,
    n_core=_N_CORE,
    build=build_network,
    start={"Prog_TF1": 1.0, "Prog_TF2": 0.9, "FateA_TF1": 0.2, "FateB_TF1": 0.2},
    masters={"FateA": "FateA_TF1", "FateB": "FateB_TF1"},
    contests=({"FateA": ("FateA_TF1",), "FateB": ("FateB_TF1",)},),
)
