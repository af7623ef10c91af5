"""Regulators that commit a cell: the progenitor's programme, switches between fates, and their cascades."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._build import Regulation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._build import NetworkBuilder

LEVEL = 10.0
COMMIT = "Commit_TF"
PROGENITOR = ("Prog_TF1", "Prog_TF2", COMMIT)
_FIXED: dict[str, Any] = {"role": "regulator", "splicing": 4.0, "level": LEVEL}


def add_progenitor(builder: NetworkBuilder) -> None:
    """Add a decaying programme of two regulators, and `Commit_TF`, which its decay frees."""
    builder.add("Prog_TF1", constitutive=0.01, gamma=0.4, **_FIXED)
    builder.add("Prog_TF2", [Regulation("Prog_TF1", 1, 0.3)], gamma=0.6, **_FIXED)
    builder.add(COMMIT, [Regulation("Prog_TF2", -1, 0.25)], gamma=0.6, **_FIXED)


def add_master(
    builder: NetworkBuilder,
    own: str,
    rival: str,
    *,
    inducer: str = COMMIT,
    induction: float = 0.5,
    hold: tuple[float, float] = (0.5, 0.3),
    repressors: Sequence[Regulation] = (),
) -> None:
    """Add one side of a toggle; `hold` is the weight and threshold with which a master keeps itself on."""
    inputs = [
        Regulation(inducer, 1, 0.5, 4, induction),
        Regulation(f"{own}_TF1", 1, hold[1], 4, hold[0]),
        Regulation(f"{rival}_TF1", -1, 0.3, 4),
        Regulation(f"{rival}_TF2", -1, 0.3, 2),
        *repressors,
    ]
    builder.add(f"{own}_TF1", inputs, gamma=0.5, basal=0.02, **_FIXED)


def add_cascades(builder: NetworkBuilder, lineages: Sequence[str]) -> None:
    """Add the second and third regulator of every lineage, each driven by the one before."""
    for stage in (2, 3):
        for own in lineages:
            builder.add(f"{own}_TF{stage}", [Regulation(f"{own}_TF{stage - 1}", 1, 0.4)], gamma=0.6, **_FIXED)
