"""Readable reactions to a stoichiometric matrix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from scnode._errors import ScnodeError
from scnode._validation import near

if TYPE_CHECKING:
    import pandas as pd

_ARROW = re.compile(r"<->|<=>|⇌|↔|->|=>|→")
_REVERSIBLE = {"<->", "<=>", "⇌", "↔"}
_NOTHING = {"0", "∅"}
_NAME = r"[^\W\d][\w.'/-]*"
_TERM = re.compile(rf"(?:(\d+(?:\.\d+|/[1-9]\d*)?)\s*\*?\s*)?({_NAME})")
_LABEL = re.compile(r"([^:]*):(.*)", re.DOTALL)
_FORM = "Write it as 'A + 2 B -> C', 'A <-> B', '0 -> A' or 'name: A -> 0'."

Side = Mapping[str, Fraction]


@dataclass(frozen=True)
class _Reaction:
    """One direction, and where it was written."""

    name: str
    place: str
    takes: Side
    makes: Side

    @property
    def change(self) -> dict[str, Fraction]:
        return {
            s: self.makes.get(s, Fraction(0)) - self.takes.get(s, Fraction(0)) for s in {**self.takes, **self.makes}
        }


def stoichiometry(
    reactions: str | Sequence[str] | Mapping[str, str], *, species: Sequence[str] | None = None
) -> pd.DataFrame:
    r"""Read reactions into the matrix S of :math:`\dot x = S\,r(x)`.

    A side is a sum of species, each with a coefficient before it where that is not 1 (``"2 B"``, ``"0.5 B"``,
    ``"1/2 B"``), or ``"0"`` (``"∅"``) for nothing. Between them stands ``"->"`` (``"=>"``, ``"→"``), or ``"<->"``
    (``"<=>"``, ``"⇌"``) for both directions. Names of species begin with a letter.

    Parameters
    ----------
    reactions
        One string with a reaction in each line, a list of strings, or a mapping from names to reactions. A reaction may
        bring its name: ``"binding: A + B <-> C"``. Empty lines and what follows ``#`` are left out.
    species
        Rows of the result, in this order; by default those of the reactions as they come. Species that no reaction
        holds are rows of zeros.

    Returns
    -------
    pandas.DataFrame
        S (species, reaction): what one run of the reaction adds to each species, whole numbers where all are. A
        reversible reaction has two columns, ``"binding"`` and ``"binding (reverse)"``; without names the columns are
        the reactions as read, one in each direction.

    Raises
    ------
    ScnodeError
        What is no reaction, or changes nothing; a name that comes twice; a species that is not among `species`.

    Examples
    --------
    >>> import scnode
    >>> scnode.pp.stoichiometry(["binding: A + B <-> C", "decay: C -> 0"])
       binding  binding (reverse)  decay
    A       -1                  1      0
    B       -1                  1      0
    C        1                 -1     -1
    """
    import pandas as pd

    read = [one for name, text, place in _lines(reactions) for one in _read(name, text, place)]
    _check_once([reaction.name for reaction in read], "Reaction", "Name them apart: 'name: A -> B'.")
    seen = list(dict.fromkeys(s for reaction in read for s in reaction.change))
    rows = seen if species is None else _ordered(species, read)
    table = {r.name: [r.change.get(s, Fraction(0)) for s in rows] for r in read}
    whole = all(x.denominator == 1 for column in table.values() for x in column)
    return pd.DataFrame(table, index=rows).astype("int64" if whole else "float64")


def _lines(reactions: object) -> Iterable[tuple[str | None, str, str]]:
    """Name, text and place of each reaction."""
    if isinstance(reactions, str):
        given: list[tuple[str | None, object, str]] = [
            (None, line, f"line {i}") for i, line in enumerate(reactions.splitlines(), 1)
        ]
    elif isinstance(reactions, Mapping):
        given = [(str(name), text, f"reaction {name!r}") for name, text in reactions.items()]
    elif isinstance(reactions, Iterable):
        given = [(None, text, f"reaction {i}") for i, text in enumerate(reactions, 1)]
    else:
        raise ScnodeError(f"reactions={reactions!r} is no list of reactions. {_FORM}")
    for _, text, place in given:
        if not isinstance(text, str):
            raise ScnodeError(f"{place} is {text!r}, no text. {_FORM}")
    lines = [(name, str(text).partition("#")[0].strip(), place) for name, text, place in given]
    # In a mapping an empty reaction has a name, and is a mistake.
    lines = [line for line in lines if line[1] or line[0] is not None]
    if not lines:
        raise ScnodeError(f"There is no reaction. {_FORM}")
    return lines


def _read(name: str | None, text: str, place: str) -> list[_Reaction]:
    """The directions of one reaction."""
    where = f"{place}, {text!r}"
    label = _LABEL.fullmatch(text) if name is None else None
    if label:
        name, text = label[1].strip(), label[2].strip()
        if not name:
            raise ScnodeError(f"{where}, has no name before ':'. {_FORM}")
    arrows = _ARROW.findall(text)
    if len(arrows) != 1:
        raise ScnodeError(f"{where}, has {len(arrows)} arrows instead of one. {_FORM}")
    takes, makes = (_side(side.strip(), where) for side in _ARROW.split(text))
    if takes == makes:
        raise ScnodeError(f"{where}, changes nothing: both sides are the same. Leave it out. {_FORM}")
    forward = _Reaction(name or f"{_written(takes)} -> {_written(makes)}", place, takes, makes)
    if arrows[0] not in _REVERSIBLE:
        return [forward]
    back = f"{name} (reverse)" if name else f"{_written(makes)} -> {_written(takes)}"
    return [forward, _Reaction(back, place, makes, takes)]


def _side(side: str, where: str) -> Side:
    """Coefficients of one side."""
    if side in _NOTHING:
        return {}
    total: dict[str, Fraction] = {}
    for term in (part.strip() for part in side.split("+")):
        found = _TERM.fullmatch(term)
        if not found:
            seen = repr(term) if term else "nothing"
            raise ScnodeError(f"{where}, has {seen} where a species is expected. {_FORM}")
        coefficient = Fraction(found[1] or 1)
        if not coefficient:
            raise ScnodeError(f"{where}, has {term!r} with the coefficient 0. Leave that species out.")
        total[found[2]] = total.get(found[2], Fraction(0)) + coefficient
    return total


def _written(side: Side) -> str:
    return " + ".join(name if n == 1 else f"{n} {name}" for name, n in side.items()) or "0"


def _ordered(species: Sequence[str], read: list[_Reaction]) -> list[str]:
    if isinstance(species, str):
        raise ScnodeError(f"species={species!r} is one name. Pass a list of names.")
    rows = [str(s) for s in species]
    _check_once(rows, "Species", "Pass each once in species=.")
    for reaction in read:
        unknown = next((s for s in reaction.change if s not in rows), None)
        if unknown is not None:
            raise ScnodeError(
                f"{reaction.place} ({reaction.name}) has the species {unknown!r}, which is not among species=. "
                f"{near(unknown, rows)} Add it to species=, or correct the reaction."
            )
    return rows


def _check_once(names: Sequence[str], what: str, advice: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ScnodeError(f"{what} {twice[0]!r} comes more than once. {advice}")
