"""The engine on a GPU: a training step beside torchdiffeq, and what is asked of 20,000 cells, beside the processor."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torchdiffeq
from _report import publish
from _work import Plain, fused, layers, states
from torch import Tensor

from scnode import datasets, nn, ode, settings, tl

RTOL, ATOL = 1e-5, 1e-7
REPEATS = 5
COLUMNS = ["work", "what", "seconds", "ratio", "tensors MB"]
NOTES = (
    "Medians of five runs after one to warm up, wall time with the device synchronised, float32. Training step: "
    "network 20-128-128-128-20 with tanh and 16 shared times on [0, 1], rtol 1e-5, atol 1e-7, loss the mean square of "
    "all states; ratio to torchdiffeq's backprop on the same device. scnode holds every cell to the tolerance, "
    "torchdiffeq the root mean square over all. 20,000 cells: the default field of five members in 20 dimensions, "
    "rtol 1e-4; ratio to the processor with all its cores (one run, after one of 500 cells). Fit: `tl.fit` with a "
    "pseudotime, 20 epochs, five members, encoder and evidence included, one run. Memory is the peak of the allocator "
    "beyond what was there before."
)


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("No CUDA device here. Run this on a machine with one.")
    rows = [*training_steps(1_024), *training_steps(16_384), *many_cells(20_000), *fits(3_000)]
    card = torch.cuda.get_device_name().split()[-1]
    publish(__file__, "On a GPU", COLUMNS, rows, f"{NOTES} GPU: {card}.")


def training_steps(n_cells: int) -> list[list[object]]:
    """Forward and gradient, by both packages, eager and compiled kernels alike."""
    plain, own = Plain(layers()).cuda(), fused(layers()).cuda()
    y0, ts = states(n_cells).cuda(), torch.linspace(0, 1, 16, device="cuda")
    options: dict[str, Any] = {"rtol": RTOL, "atol": ATOL}

    def peer(method: Callable[..., Tensor]) -> Callable[[], Tensor]:
        return lambda: step(method(plain, y0, ts, method="dopri5", **options), plain)

    def ours(solver: str, gradient: str) -> Callable[[], Tensor]:
        return lambda: step(ode.solve(own.mean, y0, ts, solver=solver, gradient=gradient, **options).ys, own)

    work = {
        "torchdiffeq dopri5 backprop": peer(torchdiffeq.odeint),
        "torchdiffeq dopri5 adjoint": peer(torchdiffeq.odeint_adjoint),
        **{f"scnode {s} {g}": ours(s, g) for s in ("dopri5", "tsit5") for g in ("backprop", "checkpointed")},
    }
    for run in work.values():
        run()
    found = {name: timed(run, torch.device("cuda")) for name, run in work.items()}
    base = next(iter(found.values()))[0]
    return [
        [f"training step of {n_cells:,} cells", name, f"{s:.3g}", f"{s / base:.2f}x", f"{mb:.0f}"]
        for name, (s, mb) in found.items()
    ]


def step(ys: Tensor, field: torch.nn.Module) -> Tensor:
    field.zero_grad()
    ys.square().mean().backward()
    return ys


def many_cells(n_cells: int) -> list[list[object]]:
    """A default model's questions, on both devices."""
    made = nn.MLPField(20, n_members=5, generator=torch.Generator().manual_seed(0))
    one = torch.ones(())
    made.set_scales(center=torch.zeros(20), scale=one, speed=2 * one, reach=10.0)
    found = {}
    for device in (torch.device("cpu"), torch.device("cuda")):
        field, y = made.to(device), states(n_cells).to(device)
        with torch.no_grad():
            for run in questions(field, y[:500]).values():
                run()
            repeats = REPEATS if device.type == "cuda" else 1
            found[device.type] = {n: timed(r, device, repeats=repeats) for n, r in questions(field, y).items()}
    return [
        [f"{n_cells:,} cells: {name}", device, f"{taken[name][0]:.3g}", f"{taken[name][0] / base:.3f}x", megabytes]
        for name, (base, _) in found["cpu"].items()
        for device, taken in found.items()
        for megabytes in (f"{taken[name][1]:.0f}",)
    ]


def questions(field: nn.MLPField, y: Tensor) -> dict[str, Callable[[], Tensor]]:
    zero, ts = y.new_zeros(()), torch.linspace(0, 1, 5, device=y.device)
    return {
        "flow, horizon 1": lambda: ode.solve(field.mean, y, ts, solver="tsit5").ys,
        "Jacobian and its norm": lambda: torch.cat(
            [ode.spectral_norm(field.jacobian(zero, part)) for part in y.split(8192)]
        ),
        "FTLE, horizon 1": lambda: ode.ftle(field.mean, y, 1.0, jacobian=field.jacobian),
    }


def fits(n_cells: int) -> list[list[object]]:
    """A whole fit on both devices."""
    adata = datasets.bifurcation(n_cells=n_cells, n_genes=200, rng=0)
    seconds = {}
    with settings.override(verbosity=0):
        for accelerator in ("cpu", "gpu"):
            start = time.perf_counter()
            tl.fit(
                adata, pseudotime_key="true_time", accelerator=accelerator, devices=1, max_epochs=20, key_added="run"
            )
            seconds[accelerator] = time.perf_counter() - start
    return [
        [f"fit of {n_cells:,} cells", name, f"{s:.3g}", f"{s / seconds['cpu']:.2f}x", "-"]
        for name, s in seconds.items()
    ]


def timed(run: Callable[[], Tensor], device: torch.device, *, repeats: int = REPEATS) -> tuple[float, float]:
    """Median seconds and peak megabytes."""
    times, peak = [], float("nan")
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
            peak = (torch.cuda.max_memory_allocated() - before) / 2**20
        times.append(time.perf_counter() - start)
    return statistics.median(times), peak


if __name__ == "__main__":
    main()
