"""One table per benchmark, printed and kept beside its script."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("scnode", "torch", "numpy", "scanpy", "scvelo")


def machine() -> str:
    """The machine in general words, with the versions that a number depends on."""
    import torch

    device = "with" if torch.cuda.is_available() else "without"
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores, {device} GPU; "
        f"Python {platform.python_version()}, {versions}."
    )


def publish(
    script: str,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    notes: str,
    *,
    into: Path | None = None,
) -> None:
    """Print the table and write it as Markdown: next to `script` under its name, or `into` a file of its own."""
    cells = [[str(c) for c in columns], *([str(c) for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    source = Path(script).resolve()
    command = f"python benchmarks/{source.relative_to(Path(__file__).resolve().parent)}"
    text = "\n".join([f"# {title}", "", *lines, "", notes, "", f"`{command}` on {machine()}", ""])
    (into or source.with_suffix(".md")).write_text(text)
    sys.stdout.write(text)
