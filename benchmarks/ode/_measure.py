"""CPU time, memory and failure of the rows of a table, all measured in one process on one thread."""

from __future__ import annotations

import ctypes
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["KINETO_LOG_LEVEL"] = "99"  # torch's profiler announces itself otherwise
os.environ["NPROC"] = "1"  # XLA sizes its pool of threads by it
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"

import threadpoolctl
import torch

torch.set_num_threads(1)
threadpoolctl.threadpool_limits(1)

FAILURES = (RuntimeError, ValueError, AssertionError, ArithmeticError, TypeError, KeyError)
TIMING = (
    "Times are CPU seconds of the process on one thread, as the machine was shared; every row runs once to warm up "
    "(compilation by XLA is not counted), then the rows take turns. "
)
TENSORS = (
    "Memory is the most that all tensors made during one run held at once, by the allocator's own count; graph, code "
    "and what the allocator keeps come on top, for everyone alike. "
)
RESIDENT = (
    "Memory is the rise of the high-water mark of the resident set during one run, after what was free had been given "
    "back; it holds the saved tensors, the graph, and what the allocator loses between them. "
)


@dataclass(frozen=True)
class Timing:
    """Median CPU seconds of `runs` runs, what the last one returned, and why there is none."""

    seconds: float = float("nan")
    runs: int = 0
    result: Any = None
    failure: str = ""


def race(
    rows: Mapping[Any, Callable[[], Any]],
    *,
    repeats: int = 5,
    budget: float = 30.0,
    first: Mapping[Any, Timing] | None = None,
) -> dict[Any, Timing]:
    """Time `rows` in turns; a row whose runs would take longer than `budget` seconds in all runs less often.

    `first` holds a run of each that was made before; without it, one is made here.
    """
    first = first or {name: attempt(row) for name, row in rows.items()}
    seconds: dict[Any, list[float]] = {name: [] for name in rows}
    for turn in range(repeats):
        for name, row in rows.items():
            once = first[name]
            # The first run may have compiled, so the first repeat says what a run takes.
            due = once.seconds if turn == 0 else (turn + 2) * min([once.seconds, *seconds[name]])
            if once.failure or due > budget:
                continue
            seconds[name].append(attempt(row).seconds)
    return {
        # A run too long to repeat stands for itself: its warm-up is small beside it.
        name: Timing(statistics.median(seconds[name]), len(seconds[name]), once.result) if seconds[name] else once
        for name, once in first.items()
    }


def attempt(row: Callable[[], Any]) -> Timing:
    """One run of `row`, or its failure."""
    gc.collect()
    start = time.process_time()
    try:
        result = row()
    except FAILURES as error:
        lines = str(error).strip().splitlines() or [""]
        message = lines[0].split(": ")[0][:60]
        sys.stderr.write(f"{type(error).__name__}: {lines[0][:300]}\n")
        return Timing(failure=f"failed: {message}")
    return Timing(time.process_time() - start, 1, result)


def watch(row: Callable[[], Any]) -> tuple[Timing, float]:
    """One run of `row`, which has run before at some size, and the megabytes it needed beyond those there before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = _high_water()
    timing = attempt(row)
    return timing, float("nan") if timing.failure else _high_water() - before


def _high_water() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def tensor_peak(row: Callable[[], Any]) -> float:
    """The most megabytes that tensors made by `row` hold at once."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        timing = attempt(row)
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return float("nan") if timing.failure else peak / 2**20
