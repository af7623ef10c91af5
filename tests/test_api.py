"""What holds for every public name."""

import importlib
import inspect
import re
import subprocess
import sys

import anndata as ad
import pytest

import scnode

FLOORS = ("datasets", "get", "metrics", "model", "nn", "ode", "pl", "pp", "tl")
FACES = ("tl", "pl", "pp", "get")
SUBJECTS = {
    "pp.time": "key",
    "tl.perturb": "genes",
    "tl.map": "model",
    "get.perturbation": "name",
    "get.response": "name",
    "pl.perturbation": "name",
}
"""What may follow `adata` by position."""
WITHOUT_CELLS = {"pp.stoichiometry": "reactions"}
"""What leads where there are no cells."""


def public(*floors):
    """Every function and class of the floors, by its dotted name."""
    names = {}
    for floor in floors:
        module = importlib.import_module(f"scnode.{floor}")
        names |= {f"{floor}.{name}": getattr(module, name) for name in module.__all__}
    return names


def each(names):
    return pytest.mark.parametrize("name", sorted(names))


EVERY = {name: thing for name, thing in public(*FLOORS).items() if callable(thing)}
FACED = {name: function for name, function in public(*FACES).items() if inspect.isfunction(function)}
TOOLS = {name: function for name, function in FACED.items() if name.startswith("tl.")}


def section(docstring, title):
    """Body of a numpydoc section, None where there is none."""
    found = re.search(rf"^{title}\n-{{{len(title)}}}\n(.+?)(?=^\w[\w ]*\n-+\n|\Z)", docstring, re.MULTILINE | re.DOTALL)
    return found and found[1].strip()


def parameters(function):
    return list(inspect.signature(function).parameters.values())


@each(FLOORS)
def test_floors_load_at_first_use_and_list_what_they_hold(name):
    module = getattr(scnode, name)
    assert name in dir(scnode)
    assert sorted(module.__all__) == sorted(set(module.__all__))
    assert all(hasattr(module, item) for item in module.__all__)
    assert not any(item.startswith("_") for item in module.__all__)


def test_unknown_floors_are_attribute_errors():
    with pytest.raises(AttributeError, match="has no attribute 'tools'"):
        scnode.tools  # noqa: B018


@each(FACED)
def test_adata_leads_and_the_rest_goes_by_name(name):
    first, *rest = parameters(FACED[name])
    assert first.name == WITHOUT_CELLS.get(name, "adata")
    assert first.default is first.empty
    if rest and rest[0].name == SUBJECTS.get(name):
        rest = rest[1:]
    assert {p.kind for p in rest} <= {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}


@each(FACED)
def test_signatures_are_typed(name):
    function = FACED[name]
    assert all(p.annotation is not p.empty for p in parameters(function))
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty
    assert name in WITHOUT_CELLS or parameters(function)[0].annotation in ("AnnData", ad.AnnData)


@each(TOOLS)
def test_tools_write_in_place_unless_asked_for_a_copy(name):
    copy = inspect.signature(TOOLS[name]).parameters["copy"]
    assert copy.kind is inspect.Parameter.KEYWORD_ONLY
    assert copy.default is False
    assert copy.annotation in ("bool", bool)
    assert inspect.signature(TOOLS[name]).return_annotation == "AnnData | None"


@each(TOOLS)
def test_tools_name_their_run(name):
    assert inspect.signature(TOOLS[name]).parameters["key_added"].default == "scnode"


@each(EVERY)
def test_docstrings_open_with_one_sentence(name):
    lines = inspect.getdoc(EVERY[name]).splitlines()
    assert lines[0].endswith(".")
    assert len(lines) == 1 or not lines[1]


@each(FACED)
def test_docstrings_describe_every_parameter_and_the_result(name):
    docstring = inspect.getdoc(FACED[name])
    described = re.findall(r"^([*\w][\w*, ]*)$", section(docstring, "Parameters"), re.MULTILINE)
    named = [part.strip().lstrip("*") for line in described for part in line.split(",")]
    assert len(named) == len(set(named))
    assert set(named) == {p.name for p in parameters(FACED[name])}
    assert section(docstring, "Returns")
    assert section(docstring, "Raises")


@each(EVERY)
def test_nothing_saves_figures_or_tables(name):
    assert name.split(".")[-1] != "save"
    if inspect.isfunction(EVERY[name]):
        assert "save" not in inspect.signature(EVERY[name]).parameters


@each(FACED)
def test_defaults_cannot_be_changed_by_a_call(name):
    plain = (bool, int, float, str, type(None), tuple)
    assert all(p.default is p.empty or isinstance(p.default, plain) for p in parameters(FACED[name]))


def test_errors_are_value_errors():
    assert issubclass(scnode.EvidenceError, scnode.ScnodeError)
    assert issubclass(scnode.SolverError, scnode.ScnodeError)
    assert issubclass(scnode.ScnodeError, ValueError)


@pytest.mark.parametrize("statement", ["import scnode", "import scnode; dir(scnode); scnode.settings.verbosity = 1"])
def test_import_stays_light(statement):
    heavy = ["torch", "lightning", "scanpy", "scvelo", "matplotlib", "anndata", "pandas", "sklearn"]
    code = f"{statement}\nimport sys\nprint([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
