"""Compare scnode with its peers on one set of simulated cells, each peer in its own virtual environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _baselines
import _cost
import _fate
import _motion
import _timecourse
import _velocity
import numpy as np
from _data import TASKS, Case, case
from _notes import TITLES, notes
from _peers import PEERS, Workshop
from _report import write

import scnode

SEEDS = (20, 21, 22, 23, 24)
Found = dict[str, np.ndarray]


@dataclass(frozen=True)
class Family:
    """How the answers of one kind are scored, and what stands beside them for comparison."""

    columns: Sequence[str]
    scores: Callable[[Case, Found], dict[str, float]]
    baselines: dict[str, Callable[[Case], Found]]


FAMILIES = {
    "velocity": Family(
        _velocity.COLUMNS,
        _velocity.scores,
        {"floor: pseudotime differences": _baselines.pseudotime_difference, "ceiling": _baselines.ceiling},
    ),
    "fate": Family(
        _fate.COLUMNS,
        _fate.scores,
        {
            "floor: nearest labelled cells": _baselines.fate_by_neighbors,
            "floor: nearest later cells": _baselines.fate_by_pseudotime,
            "ceiling": _baselines.fate_of_neighbors,
        },
    ),
    "timecourse": Family(
        _timecourse.COLUMNS,
        _timecourse.scores,
        {
            "floor: day differences": _baselines.day_difference,
            "ceiling": _baselines.ceiling,
            "no motion": _motion.no_motion,
            "straight line": _motion.straight_line,
            "OT interpolation": _motion.transport,
        },
    ),
}


def main() -> None:
    options = arguments()
    scnode.settings.verbosity = 0
    workshop = Workshop(options.cache.resolve())
    cases = [
        case(task, seed, n_cells=options.cells, folder=workshop.folder / "data")
        for seed in options.seeds
        for task in options.tasks
    ]
    for name in options.only:
        for each in cases:
            if PEERS[name].serves(each.task):
                workshop.output(name, each, compute=True)
    publish(options.out, cases, workshop, options.cells)


def arguments() -> argparse.Namespace:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "scnode-peers"
    parser = argparse.ArgumentParser(description=__doc__)
    several = {"nargs": "*", "metavar": "NAME"}
    shown = "peers to run; of the others, outputs kept from before are shown"
    parser.add_argument("--only", choices=list(PEERS), default=list(PEERS), help=shown, **several)
    parser.add_argument("--tasks", choices=list(TASKS), default=list(TASKS), **several)
    parser.add_argument("--seeds", type=int, default=list(SEEDS), **several)
    parser.add_argument("--cells", type=int, default=3000)
    parser.add_argument("--cache", type=Path, default=Path(os.environ.get("SCNODE_PEERS", cache)))
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="folder of the tables")
    return parser.parse_args()


def publish(folder: Path, cases: Sequence[Case], workshop: Workshop, n_cells: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    costs: list[dict[str, Any]] = []
    for name, family in FAMILIES.items():
        records = []
        for asked in (c for c in cases if name in TASKS[c.task].asks):
            for method, found in answers(asked, name, family, workshop):
                key = {"simulation": TASKS[asked.task].simulation, "method": method, "seed": asked.seed}
                records.append(key | family.scores(asked, found))
                if asked.task in _cost.TASKS:
                    costs.append(key | {"simulation": name} | _cost.scores(found))
        tell(folder, name, family.columns, records, n_cells)
    tell(folder, "cost", _cost.COLUMNS, costs, n_cells)


def tell(folder: Path, family: str, columns: Sequence[str], records: Sequence[dict[str, Any]], n_cells: int) -> None:
    if records:
        shown = (str(record["method"]) for record in records)
        write(folder / f"{family}.md", TITLES[family], columns, records, notes(family, shown, n_cells))


def answers(asked: Case, name: str, family: Family, workshop: Workshop) -> Iterator[tuple[str, Found]]:
    """Floors and ceilings first, then every peer that has an answer."""
    for label, baseline in family.baselines.items():
        yield label, baseline(asked)
    for key, peer in PEERS.items():
        if name in peer.answers and (found := workshop.output(key, asked, compute=False)) is not None:
            yield peer.label, found


if __name__ == "__main__":
    main()
