"""The oldest set that is installed and tested is that of the lower bounds which are declared."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def versions(lines, sign):
    """Version by name, zeros at its end left out."""
    rows = [re.fullmatch(rf"([\w-]+){sign}([\d.]+?)(\.0)*", line) for line in lines]
    return {row[1]: row[2] for row in rows}


def test_the_oldest_set_is_that_of_the_lower_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = versions([*project["dependencies"], *project["optional-dependencies"]["test"]], ">=")
    lines = (ROOT / ".ci" / "oldest.txt").read_text().splitlines()
    installed = versions([line for line in lines if line and line[0] != "#"], "==")
    # Which says why it is not.
    del declared["torch"], installed["torch"]
    assert installed == declared
