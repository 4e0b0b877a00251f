"""Each attack that docs/evidence_format.md tells of has its tests: every row names some, and all of them are there."""

import ast
import re

from tests.architecture.source_tree import ROOT
from tests.tamper.test_evidence_sixteen_dishonest_runs import SIXTEEN

FOLDER = ROOT / "tests" / "tamper"


def section():
    text = (ROOT / "docs" / "evidence_format.md").read_text()
    return text[text.index("## 7 What catches what") : text.index("## 8 Hostile input")]


def tables():
    """The rows of both tables, by their first cell."""
    found = []
    for block in re.findall(r"^\| Attack \|.*\n\|[-|]+\n((?:\|.*\n)+)", section(), re.MULTILINE):
        rows = [line.strip("|").split("|") for line in block.splitlines()]
        found.append({cells[0].strip(): " ".join(cells[1:]) for cells in rows})
    return found


def attacking():
    return {
        part.name
        for path in FOLDER.glob("test_*.py")
        for part in ast.parse(path.read_text()).body
        if isinstance(part, ast.FunctionDef) and part.name.startswith("test_")
    }


def test_each_attack_has_its_row_of_tests():
    told, tested = tables()
    assert list(told) == list(tested)
    assert len(told) >= 17


def test_each_named_test_attacks():
    there = attacking()
    for attack, cell in tables()[1].items():
        named = re.findall(r"`(test_\w+)`", cell)
        assert named, attack
        assert set(named) <= there, attack


def test_the_sixteen_dishonest_runs_are_told_by_name():
    told = " ".join(section().split())
    assert len(SIXTEEN) == 16
    for name in SIXTEEN:
        words = name.removeprefix("approval ")
        assert words in told, name
