"""Documents say what is: every file, module, command and target that they name exists."""

import re

import pytest

from tests.architecture.source_tree import ROOT, modules, tracked_files
from tests.architecture.test_floors import FLOORS, room

DOCUMENTS = [name for name in tracked_files() if name.endswith(".md") and name.startswith(("docs/", "README.md"))]


def code_words(text: str) -> list[str]:
    """What stands between backticks outside of fenced blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def folders() -> set[str]:
    return {"/".join(name.split("/")[:depth]) for name in tracked_files() for depth in range(1, name.count("/") + 1)}


def looks_like_a_path(word: str) -> bool:
    top = word.split("/", maxsplit=1)[0]
    return "/" in word and top in {name.split("/")[0] for name in tracked_files() if "/" in name} and " " not in word


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_files_exist(document):
    there = set(tracked_files()) | folders()
    named = [word.rstrip("/") for word in code_words((ROOT / document).read_text()) if looks_like_a_path(word)]
    wrong = [word for word in named if word not in there and not re.search(r"[*<{…$]", word)]
    assert not wrong, f"{document} names what is not there"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / document).read_text())
    wrong = [link for link in links if ":" not in link and not (ROOT / document).parent.joinpath(link).exists()]
    assert not wrong, f"{document} links to what is not there"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_files_of_rooms_exist(document):
    words = code_words((ROOT / document).read_text())
    named = [word for word in words if word.endswith(".py") and word.split("/", 1)[0] in FLOORS and "/" in word]
    assert [word for word in named if f"orchestrator/{word}" not in tracked_files()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_tests_exist(document):
    named = {word for word in code_words((ROOT / document).read_text()) if word.startswith("test_")}
    sources = [name for name in tracked_files() if name.startswith("tests/") and name.endswith(".py")] if named else []
    defined = {test for name in sources for test in re.findall(r"def (test_\w+)\(", (ROOT / name).read_text())}
    assert named <= defined, f"{document} names tests that are not there"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_modules_exist(document):
    words = code_words((ROOT / document).read_text())
    named = [word for word in words if re.fullmatch(r"(?:orchestrator\.)?[a-z_0-9]+(?:\.[a-z_0-9]+)+", word)]
    wrong = [
        word
        for word in named
        if room("orchestrator." + (bare := word.removeprefix("orchestrator."))) in FLOORS
        and not word.endswith((".py", ".md", ".yml"))
        and f"orchestrator.{bare}" not in modules()
        and f"orchestrator.{bare.rpartition('.')[0]}" not in modules()
    ]
    assert not wrong, f"{document} names what is not there"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_make_targets_exist(document):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)\b(?=`|$|\s+#)", (ROOT / document).read_text(), re.MULTILINE))
    assert named <= targets


def test_the_table_of_floors_is_the_one_that_is_enforced():
    text = (ROOT / "docs/ARCHITECTURE.md").read_text()
    written = {}
    for floor, cell in re.findall(r"^\| (\d) \| (.+?) \|", text, re.MULTILINE):
        for name in re.findall(r"`([a-z]+)(?:\.py)?/?`", cell):
            written[name] = int(floor)
    there = {room(module) for module in modules()} - {""}
    assert {name: FLOORS[name] for name in there} == {name: floor for name, floor in written.items() if name in there}
    assert written.items() <= FLOORS.items()


def test_decisions_are_numbered_and_say_what_they_cost():
    decisions = sorted(name for name in tracked_files() if re.match(r"docs/adr/\d{4}-", name))
    numbers = [name.split("/")[-1][:4] for name in decisions]
    assert len(numbers) == len(set(numbers))
    for name in decisions:
        assert "## What this costs us" in (ROOT / name).read_text(), name


def test_tests_that_code_names_exist():
    there = set(tracked_files())
    sources = [name for name in there if name.startswith("orchestrator/") and name.endswith(".py")]
    named = {(name, word) for name in sources for word in re.findall(r"tests/\w+/\w+\.py", (ROOT / name).read_text())}
    assert named
    assert {(name, word) for name, word in named if word not in there} == set()
