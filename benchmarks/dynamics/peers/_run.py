"""Run one peer's adapter on one file, in that peer's own interpreter, and measure the process."""

from __future__ import annotations

import importlib.util
import resource
import sys
from pathlib import Path
from types import ModuleType

import anndata as ad
import numpy as np

HERE = Path(__file__).resolve().parent


def main() -> None:
    name, source, target, *options = sys.argv[1:]
    # An adapter is named after its package, which must be found first.
    sys.path = [*(p for p in sys.path if Path(p).resolve() != HERE), str(HERE)]
    adapter = load(name)
    adata = ad.read_h5ad(source)
    imports = cpu_seconds()
    found = adapter.run(adata, *options)
    cost = {"cpu": cpu_seconds() - imports, "cpu_imports": imports, "peak_mb": peak_megabytes()}
    np.savez_compressed(target, **found, **cost)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"adapter_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cpu_seconds() -> float:
    """User and system time of this process and of those that it started."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
