"""What the documentation says of the package is so."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FLOORS = ("datasets", "get", "metrics", "model", "nn", "ode", "pl", "pp", "tl")
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("guide/*.md"), *DOCS.glob("tutorials/*.md")])


def public():
    """Every public name behind a floor, by its dotted name."""
    return {f"{f}.{name}" for f in FLOORS for name in importlib.import_module(f"scnode.{f}").__all__}


def test_the_reference_lists_every_public_name_and_no_other():
    text = (DOCS / "api.md").read_text()
    rows = re.findall(rf"^    ((?:{'|'.join(FLOORS)})\.\w+)$", text, re.MULTILINE)
    tables = re.findall(r"^\.\. py:(?:data|type):: (\w+)\n   :module: scnode\.(\w+)$", text, re.MULTILINE)
    rows += [f"{floor}.{name}" for name, floor in tables]
    assert len(rows) == len(set(rows))
    assert set(rows) == public()


def test_the_gallery_shows_every_plot():
    shown = re.findall(r"^## `pl\.(\w+)`", (DOCS / "gallery.md").read_text(), re.MULTILINE)
    assert {f"pl.{name}" for name in shown} == {name for name in public() if name.startswith("pl.")}


def test_every_page_can_be_reached():
    listed = set()
    for page in PAGES:
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL):
            listed |= {(page.parent / f"{line}.md").resolve() for line in tree.split("\n") if line and line[0] != ":"}
    assert {p.resolve() for p in PAGES} - listed == {(DOCS / "index.md").resolve()}


def messages():
    """Text of the package, its strings joined as Python joins them, with placeholders left out."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "scnode").rglob("*.py")]
    constants = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return "\n".join(node.value for node in constants if isinstance(node.value, str))


def test_troubleshooting_quotes_messages_that_exist():
    entries = re.findall(r"^\* - (`.*)$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    quoted = [part for entry in entries for part in re.findall(r"`([^`]+)`", entry)]
    known = messages()
    assert len(quoted) > 15
    assert [q for q in quoted if q not in known] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_calls_in_the_text_are_of_names_that_exist(page):
    named = re.findall(r"\bscnode\.((?:tl|pl|get|pp|datasets|ode|nn|metrics)\.\w+)", page.read_text())
    assert set(named) <= public() | {"nn.FIELDS", "nn.ENCODERS"}


def test_files_are_small():
    big = [
        p for p in (*DOCS.glob("_static/*"), *(ROOT / "scnode").rglob("*")) if p.is_file() and p.stat().st_size > 1e6
    ]
    assert big == []
    assert (DOCS / "_static" / "landing.png").stat().st_size < 200_000
