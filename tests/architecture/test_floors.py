"""The building has floors: imports go down only, rooms have no doors between them, vendors stay in their rooms.

Every import counts, wherever it stands: at the top of a file, inside a function, or by name. docs/ARCHITECTURE.md
draws what this file enforces.
"""

import ast
import sys

import pytest

from tests.architecture.source_tree import (
    PACKAGE,
    Import,
    imports_in,
    module_name,
    modules,
    own_imports,
    target_module,
)

FLOORS = {
    "foundation": 0,
    "model": 1,
    "contracts": 2,
    "inventory": 3,
    "survey": 3,
    "planning": 3,
    "engine": 3,
    "steps": 3,
    "hosts": 3,
    "snapshots": 3,
    "movers": 3,
    "targets": 3,
    "evidence": 3,
    "wiring": 4,
    "operations": 5,
    "web": 6,
    "lab": 6,
    "cli": 7,
}

# Where each vendor may be imported: modules, or packages with everything in them. A vendor that is not named here may
# be imported nowhere.
VENDORS = {
    "dbos": ["engine.durable"],
    "sqlalchemy": ["engine"],
    "psycopg": ["engine"],
    "ansible": ["hosts.ansible"],
    "ansible_runner": ["hosts.ansible"],
    "boto3": ["targets.aws", "targets.s3"],
    "botocore": ["targets.aws", "targets.s3"],
    "tenacity": ["foundation.retry"],
    "cryptography": ["evidence", "hosts.certificates"],
    "securesystemslib": ["evidence"],
    "rfc3161_client": ["evidence"],
    "weasyprint": ["evidence.pdf"],
    "yaml": ["foundation.written_file", "inventory", "planning.runbook", "evidence", "lab"],
    "croniter": ["planning.drill_schedule"],
    "click": ["cli"],
    "rich": ["cli"],
    "moto": ["lab.cloud"],
    "flask": ["lab.cloud"],
    "werkzeug": ["lab.cloud"],
    "pydantic": [""],  # the nouns are made of it
    "pydantic_core": [""],
}


def room(module: str) -> str:
    """`hosts` for orchestrator.hosts.ssh, `wiring` for orchestrator.wiring, "" for the package itself."""
    words = module.split(".")
    return words[1] if len(words) > 1 else ""


def goes_up_or_across(importer: str, imported: str) -> bool:
    here, there = room(importer), room(imported)
    return bool(there) and here != there and FLOORS[there] >= FLOORS.get(here, -1)


def test_every_room_has_a_floor():
    rooms = {room(module) for module in modules()} - {""}
    assert rooms <= FLOORS.keys(), f"give these a floor, here and in docs/ARCHITECTURE.md: {rooms - FLOORS.keys()}"


def test_imports_go_down_only():
    wrong = [
        f"{imported}: floor {FLOORS[room(target)]} from floor {FLOORS.get(room(imported.module), -1)}"
        for imported in own_imports()
        if (target := target_module(imported)) and goes_up_or_across(imported.module, target)
    ]
    assert not wrong, "\n".join(wrong)


def test_own_code_is_never_imported_for_types_only():
    wrong = [str(imported) for imported in own_imports() if imported.guarded and target_module(imported)]
    assert not wrong, "under TYPE_CHECKING, where circles hide:\n" + "\n".join(wrong)


def test_imports_of_own_code_lead_somewhere():
    ours = [imported for imported in own_imports() if imported.name.split(".")[0] == PACKAGE]
    wrong = [str(imported) for imported in ours if not target_module(imported)]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_by_a_detour():
    graph: dict[str, set[str]] = {module: set() for module in modules()}
    for imported in own_imports():
        target = target_module(imported)
        if target and target not in {imported.module, PACKAGE}:
            graph[imported.module].add(target)
    circles = [" → ".join(circle) for circle in find_circles(graph)]
    assert not circles, "\n".join(circles)


def find_circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Each circle once, as the path that closes it."""
    circles: list[list[str]] = []
    finished: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            circles.append([*path[path.index(module) :], module])
            return
        if module in finished:
            return
        for target in sorted(graph.get(module, ())):
            visit(target, [*path, module])
        finished.add(module)

    for module in sorted(graph):
        visit(module, [])
    return circles


def is_allowed(importer: str, allowed: list[str]) -> bool:
    inside = importer.removeprefix(PACKAGE).removeprefix(".")
    return any(not place or inside == place or inside.startswith(place + ".") for place in allowed)


def foreign(imported: Import) -> str | None:
    top = imported.name.split(".")[0]
    return None if top in sys.stdlib_module_names or top == PACKAGE else top


def test_vendors_stay_in_their_rooms():
    wrong = [
        f"{imported}; {vendor} is for {', '.join(VENDORS.get(vendor, [])) or 'no room: name it in VENDORS'}"
        for imported in own_imports()
        if (vendor := foreign(imported)) and not is_allowed(imported.module, VENDORS.get(vendor, []))
    ]
    assert not wrong, "\n".join(wrong)


class TestTheGuardItself:
    """A guard that sees nothing guards nothing."""

    @pytest.mark.parametrize(
        ("importer", "imported", "wrong"),
        [
            ("orchestrator.cli.app", "orchestrator.operations.plan", False),
            ("orchestrator.steps.drain", "orchestrator.contracts.handler", False),
            ("orchestrator.steps.drain", "orchestrator.steps.fence", False),
            ("orchestrator.steps.drain", "orchestrator.hosts.ssh", True),
            ("orchestrator.model.plan", "orchestrator.contracts.handler", True),
            ("orchestrator.wiring", "orchestrator.engine.worker", False),
            ("orchestrator.hosts.ssh", "orchestrator.wiring", True),
            ("orchestrator.hosts.ssh", "orchestrator", False),
            ("orchestrator", "orchestrator.foundation.clock", True),
        ],
    )
    def test_directions(self, importer, imported, wrong):
        assert goes_up_or_across(importer, imported) is wrong

    def test_sees_every_way_to_import(self):
        source = (
            "import a.b\n"
            "from . import near\n"
            "from ..model import plan\n"
            "def late():\n    from c import d\n"
            "if TYPE_CHECKING:\n    import e\n"
            "importlib.import_module('f.g')\n"
        )
        found = [(i.name, i.guarded) for i in imports_in(ast.parse(source), "orchestrator/steps/x.py")]
        assert found == [
            ("a.b", False),
            ("orchestrator.steps.near", False),
            ("orchestrator.model.plan", False),
            ("c.d", False),
            ("e", True),
            ("f.g", False),
        ]

    def test_sees_circles(self):
        assert find_circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c", "a"]]
        assert find_circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []

    def test_names_modules_as_python_does(self):
        assert module_name("orchestrator/hosts/ssh.py") == "orchestrator.hosts.ssh"
        assert module_name("orchestrator/hosts/__init__.py") == "orchestrator.hosts"
