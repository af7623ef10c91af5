import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scnode
from scnode import ScnodeError
from scnode.pp import stoichiometry


def columns(table):
    return {name: {s: x for s, x in column.items() if x} for name, column in table.to_dict().items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A + B -> C", {"A + B -> C": {"A": -1, "B": -1, "C": 1}}),
        ("2 A -> B", {"2 A -> B": {"A": -2, "B": 1}}),
        ("2A=>B", {"2 A -> B": {"A": -2, "B": 1}}),
        ("A + A → 2*B", {"2 A -> 2 B": {"A": -2, "B": 2}}),
        ("0 -> A", {"0 -> A": {"A": 1}}),
        ("∅ -> A", {"0 -> A": {"A": 1}}),
        ("A -> 0", {"A -> 0": {"A": -1}}),
        ("mRNA -> mRNA + protein", {"mRNA -> mRNA + protein": {"protein": 1}}),
        ("birth: 0 -> NKX2-1", {"birth": {"NKX2-1": 1}}),
        ("A <-> B", {"A -> B": {"A": -1, "B": 1}, "B -> A": {"A": 1, "B": -1}}),
        ("bind: A ⇌ B", {"bind": {"A": -1, "B": 1}, "bind (reverse)": {"A": 1, "B": -1}}),
        ("A <=> B", {"A -> B": {"A": -1, "B": 1}, "B -> A": {"A": 1, "B": -1}}),
        ("1/2 A -> 0.25 B", {"1/2 A -> 1/4 B": {"A": -0.5, "B": 0.25}}),
    ],
)
def test_a_reaction_is_read(text, expected):
    assert columns(stoichiometry(text)) == expected


def test_lists_lines_and_mappings_are_the_same():
    listed = stoichiometry(["binding: A + B <-> C", "C -> 0"])
    lines = stoichiometry("\n# complexes\nbinding: A + B <-> C   # fast\n\n  C -> 0\n")
    mapped = stoichiometry({"binding": "A + B <-> C", "C -> 0": "C -> 0"})
    pd.testing.assert_frame_equal(listed, lines)
    pd.testing.assert_frame_equal(listed, mapped)
    assert list(listed.index) == ["A", "B", "C"]
    assert list(listed.columns) == ["binding", "binding (reverse)", "C -> 0"]
    assert set(listed.dtypes) == {np.dtype("int64")}


def test_species_give_the_order_and_more_rows():
    table = stoichiometry("A -> B", species=["B", "idle", "A"])
    assert table["A -> B"].to_dict() == {"B": 1, "idle": 0, "A": -1}


SIDE = st.dictionaries(st.sampled_from(["A", "B2", "Gata1", "x_y"]), st.integers(1, 5), max_size=3)


@settings(deadline=None)
@given(SIDE, SIDE.filter(bool), st.sampled_from([" -> ", "->", " => "]))
def test_what_is_written_is_what_is_read(takes, makes, arrow):
    if takes == makes:
        return
    written = arrow.join(" + ".join(f"{n} {s}" for s, n in side.items()) or "0" for side in (takes, makes))
    (found,) = columns(stoichiometry(f"r: {written}")).values()
    species = {*takes, *makes}
    assert found == {s: makes.get(s, 0) - takes.get(s, 0) for s in species if makes.get(s, 0) != takes.get(s, 0)}


@pytest.mark.parametrize(
    ("reactions", "message"),
    [
        ("A -> B\nA + -> B", r"line 2, 'A \+ -> B', has nothing where a species is expected"),
        (["A -> B", "A B -> C"], r"reaction 2, 'A B -> C', has 'A B' where a species"),
        ({"r": "A"}, r"reaction 'r', 'A', has 0 arrows"),
        ({"r": ""}, "has 0 arrows"),
        ("A -> B -> C", "has 2 arrows instead of one"),
        ("-> B", "has nothing where a species"),
        ("A -> 2", "has '2' where a species"),
        ("A -> 0 B", "coefficient 0. Leave that species out"),
        ("A + 0 -> B", "has '0' where a species"),
        ("A -> A", "changes nothing"),
        (": A -> B", "no name before ':'"),
        ("A -> B\nA->B", "'A -> B' comes more than once. Name them apart"),
        ("", "There is no reaction"),
        ([], "There is no reaction"),
        (3, "reactions=3 is no list"),
        (["A -> B", 3], "reaction 2 is 3, no text"),
    ],
)
def test_what_is_no_reaction_is_told(reactions, message):
    with pytest.raises(ScnodeError, match=message):
        stoichiometry(reactions)


@pytest.mark.parametrize(
    ("species", "message"),
    [
        (["Gata1"], "species 'Gata2', which is not among species=. Did you mean 'Gata1'"),
        (["Gata2", "Gata2"], "'Gata2' comes more than once"),
        ("Gata2", "is one name. Pass a list"),
    ],
)
def test_species_that_do_not_fit_are_told(species, message):
    with pytest.raises(ScnodeError, match=message):
        stoichiometry("decay: Gata2 -> 0", species=species)


def test_a_field_takes_the_table():
    field = scnode.nn.StoichiometricField(stoichiometry("E + S <-> ES\ncat: ES -> E + P"))
    assert field.species == ["E", "S", "ES", "P"]
    assert field.conserved_names() == ["E + ES", "S + ES + P"]
