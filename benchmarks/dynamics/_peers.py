"""The peers: what each is asked, its own virtual environment, and its outputs, kept by version, task and seed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
from _data import TASKS, Case, fingerprint

import scnode

ADAPTERS = Path(__file__).resolve().parent / "peers"
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA", "NUMEXPR")}
ALL = ("velocity", "fate", "timecourse")


@dataclass(frozen=True)
class Peer:
    """One row: the adapter, the package whose version counts, what it can answer, and its option."""

    label: str
    adapter: str
    package: str
    answers: tuple[str, ...]
    options: tuple[str, ...] = ()

    def serves(self, task: str) -> bool:
        return bool(set(self.answers) & set(TASKS[task].asks))


# Cheapest first: a queue that is cut short has filled the most rows.
PEERS = {
    "scvelo-deterministic": Peer("scVelo deterministic", "scvelo", "scvelo", ("velocity",), ("deterministic",)),
    "scvelo-stochastic": Peer("scVelo stochastic", "scvelo", "scvelo", ("velocity",), ("stochastic",)),
    "scvelo-dynamical": Peer("scVelo dynamical", "scvelo", "scvelo", ("velocity",), ("dynamical",)),
    "dynamo": Peer("dynamo", "dynamo", "dynamo-release", ("velocity",)),
    "torchcfm": Peer("TorchCFM, exact OT", "torchcfm", "torchcfm", ("timecourse",)),
    "prescient": Peer("PRESCIENT", "prescient", "prescient", ("timecourse",)),
    "scdiffeq": Peer("scDiffEq", "scdiffeq", "scdiffeq", ("timecourse",)),
    "cellrank": Peer("CellRank on scVelo stochastic", "cellrank", "cellrank", ("fate",), ("stochastic",)),
    "scnode": Peer("scnode", "scnode", "scnode", ALL),
    "sctour": Peer("scTour", "sctour", "sctour", ("velocity",)),
    "velovi": Peer("veloVI", "velovi", "scvi-tools", ("velocity",)),
}
OWN = "scnode"


class Workshop:
    """Environments and outputs in one folder outside the repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def output(self, name: str, case: Case, *, compute: bool) -> dict[str, np.ndarray] | None:
        """What the peer gave; None where it failed, or was never run and shall not be now."""
        target = self._target(name, case)
        if not target.exists() and compute:
            self._run(PEERS[name], case, target)
        if not target.exists():
            return None
        with np.load(target, allow_pickle=False) as stored:
            return dict(stored)

    def _target(self, name: str, case: Case) -> Path:
        return self.folder / "outputs" / name / version(PEERS[name]) / f"{case.name}.npz"

    def _interpreter(self, adapter: str) -> Path:
        """The environment's Python; the environment is made anew where its requirements changed."""
        if adapter == OWN:
            return Path(sys.executable)
        wanted = requirements(adapter)
        home = self.folder / "venv" / adapter
        python, stamp = home / "bin" / "python", home / "installed.txt"
        if not stamp.exists() or stamp.read_text().split() != wanted:
            sys.stderr.write(f"installing {adapter}\n")
            install(home, python, wanted)
            stamp.write_text("\n".join(wanted))
        return python

    def _run(self, peer: Peer, case: Case, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished, log = target.with_suffix(".part.npz"), target.with_suffix(".log")
        # A search path set for scnode must not reach into the environments of others.
        isolated = [] if peer.adapter == OWN else ["-E"]
        script = [ADAPTERS / "_run.py", peer.adapter, case.path, unfinished, *peer.options]
        command = [self._interpreter(peer.adapter), *isolated, *script]
        start = time.monotonic()
        with log.open("w") as lines:
            done = subprocess.run(
                command, check=False, stdout=lines, stderr=lines, env=environment(), cwd=target.parent
            )
        seconds = f"{time.monotonic() - start:.0f} s"
        if done.returncode or not zipfile.is_zipfile(unfinished):
            sys.stderr.write(f"{peer.label} failed on {case.name} after {seconds}: {log}\n")
            return
        unfinished.rename(target)
        sys.stderr.write(f"{peer.label} on {case.name}: {seconds}\n")


def install(home: Path, python: Path, wanted: list[str]) -> None:
    """Torch on its own first, so that what depends on it is resolved against the build at hand."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
    torch = [line for line in wanted if line.startswith("torch==")]
    for lines in filter(None, (torch, wanted)):
        subprocess.run([python, "-m", "pip", "install", "-qq", *lines], check=True)


def environment() -> Mapping[str, str]:
    """This process's environment, on one thread and without a GPU."""
    return os.environ | ONE_THREAD | {"MPLBACKEND": "Agg", "CUDA_VISIBLE_DEVICES": ""}


@cache
def version(peer: Peer) -> str:
    """As its requirements pin it; of scnode also a fingerprint of the source, which changes without a release."""
    if peer.adapter == OWN:
        return f"{metadata.version('scnode')}-{fingerprint(*Path(scnode.__file__).parent.rglob('*.py'))}"
    pins = dict(line.split("==") for line in requirements(peer.adapter) if "==" in line)
    return pins[peer.package]


def requirements(adapter: str) -> list[str]:
    return (ADAPTERS / f"{adapter}.txt").read_text().split()
