"""A progenitor that reaches one of three fates through two toggle switches, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._build import NetworkBuilder, Regulation
from ._commitment import PROGENITOR, add_cascades, add_master, add_progenitor
from ._differentiation import Differentiation, Request, simulate

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData

    from ._network import Network

_LINEAGES = ("FateA", "Mid", "FateB", "FateC")
_FATES = ("FateA", "FateB", "FateC")
_N_CORE = len(PROGENITOR) + 3 * len(_LINEAGES)


def branching(
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
    r"""Simulate progenitors that reach one of three fates in two decisions.

    Every cell is the end of its own trajectory of

    .. math::

        \dot u_i = \alpha_i(s) - \beta_i u_i, \qquad \dot s_i = \beta_i u_i - \gamma_i s_i

    with Hill-type :math:`\alpha_i(s)` and, where `noise` is positive, Langevin noise on both. A progenitor
    programme decays, which frees `Commit_TF`; this induces `FateA_TF1` and `Mid_TF1`, which activate themselves and
    repress each other: the first decision, at about 12 h [1]_. The cascade of `Mid_TF1` induces `FateB_TF1` and
    `FateC_TF1`, a second switch of the same kind, at about 22 h; either fate then keeps itself on and turns
    the intermediate programme off. Markers follow a fate and inert genes nothing: neither regulates.

    Parameters
    ----------
    n_cells
        Number of cells, taken at uniform times over 36 h where `n_days` is None.
    n_genes
        Number of genes, at least 15.
    noise
        Coefficient of variation that the Langevin noise gives a fully induced gene; 0 for none, and few cells
        then take FateA.
    counts
        Whether `X`, `spliced` and `unspliced` are negative binomial counts or the exact abundances.
    depth
        Mean number of spliced molecules caught per cell; unspliced ones are caught at the same rate.
    n_days
        Number of collections, equally spaced from the start to the end of the run, of equal numbers of cells. Each
        cell starts late or early by a normal delay of sd 10 % of the spacing; its own time stays within the run.
    n_clones
        Number of progenitors that receive a barcode at 11.88 h [2]_; needs three days or more. The descendants of one
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
          without further noise; `obs['clusters']`, one of Progenitor, Early, Intermediate, FateA, FateB,
          FateC.
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
    .. [1] Zhou & Huang, Understanding gene circuits at cell-fate branch points for rational cell reprogramming,
       Trends in Genetics 27 (2011).
    .. [2] Weinreb, Rodriguez-Fraticelli, Camargo & Klein, Lineage tracing on transcriptional landscapes links state
       to fate during differentiation, Science 367 (2020).
    """
    request = Request(n_cells, n_genes, noise, counts, depth, n_days, n_clones, n_futures)
    return simulate(BRANCHING, request, rng)


def build_network(n_genes: int, rng: np.random.Generator) -> Network:
    """Build the core of fifteen regulators and as many followers as `n_genes` leaves."""
    builder = NetworkBuilder(rng)
    _add_core(builder)
    cascade = {own: tuple(f"{own}_TF{stage}" for stage in (1, 2, 3)) for own in _LINEAGES}
    programmes = {
        "Prog_Target": ("target", PROGENITOR[:2]),
        "Commit_Target": ("target", PROGENITOR[2:]),
        **{f"{own}_Target": ("target", cascade[own]) for own in _LINEAGES},
        **{f"{own}_Marker": ("marker", cascade[own][:1]) for own in _FATES},
        "Inert": ("inert", ()),
    }
    # Dealt in turn, so that the smallest network has some of each.
    deal = [*programmes, "Prog_Target", "FateA_Target", "FateB_Target", "FateC_Target", "Inert"]
    builder.add_followers(programmes, deal, n_genes - _N_CORE)
    return builder.build()


def _add_core(builder: NetworkBuilder) -> None:
    add_progenitor(builder)
    # Induced as strongly as Mid, FateA would take half of the cells and leave a quarter to each other fate.
    others = [Regulation(f"{fate}_TF1", -1, 0.3, 4) for fate in ("FateB", "FateC")]
    add_master(builder, "FateA", "Mid", induction=0.485, repressors=others)
    ends = [Regulation(f"{fate}_TF2", -1, 0.3, 4) for fate in ("FateB", "FateC")]
    add_master(builder, "Mid", "FateA", repressors=ends)
    for own, rival in (("FateB", "FateC"), ("FateC", "FateB")):
        add_master(builder, own, rival, inducer="Mid_TF3", induction=0.3, hold=(0.7, 0.25))
    add_cascades(builder, _LINEAGES)


BRANCHING = Differentiation(
    name="branching",
    duration=36.0,
    n_core=_N_CORE,
    build=build_network,
    start={"Prog_TF1": 1.0, "Prog_TF2": 0.9, "FateA_TF1": 0.2, "Mid_TF1": 0.2, "FateB_TF1": 0.1, "FateC_TF1": 0.1},
    masters={fate: f"{fate}_TF1" for fate in _FATES},
    contests=(
        {"FateA": ("FateA_TF1",), "Intermediate": ("Mid_TF1", "FateB_TF1", "FateC_TF1")},
        {"FateB": ("FateB_TF1",), "FateC": ("FateC_TF1",)},
    ),
)
