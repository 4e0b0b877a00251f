"""Names explain; drawers without a name are refused; packages do no work when they are imported."""

import ast

from tests.architecture.source_tree import imports_in, parse, python_files, tracked_files

# A file or folder of such a name collects what nobody placed.
DRAWERS = {"base", "common", "core", "helper", "helpers", "manager", "managers", "misc", "shared", "util", "utils"}


def test_no_drawers():
    wrong = [
        name
        for name in tracked_files()
        if name.split("/", 1)[0] in {"orchestrator", "tests", "benchmarks", "scripts"}
        and DRAWERS & {word.removesuffix(".py") for word in name.split("/")}
    ]
    assert not wrong, wrong


def test_package_files_hold_only_their_sentence():
    wrong = []
    for name in python_files("orchestrator"):
        if not name.endswith("__init__.py"):
            continue
        body = parse(name).body
        # The package's version is the one thing that stands beside a docstring, in one place.
        extra = [node for node in body[1:] if not (name == "orchestrator/__init__.py" and is_version(node))]
        if not body or not is_docstring(body[0]) or extra:
            wrong.append(name)
    assert not wrong, f"a docstring and nothing else: {wrong}"


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def is_version(node: ast.stmt) -> bool:
    target = node.targets[0] if isinstance(node, ast.Assign) else None
    return isinstance(target, ast.Name) and target.id == "__version__"


def test_every_folder_of_the_package_is_a_package():
    folders = {name.rpartition("/")[0] for name in python_files("orchestrator")}
    # Programs that run on hosts are sent as files and never imported.
    wrong = [
        folder
        for folder in sorted(folders)
        if f"{folder}/__init__.py" not in tracked_files()
        and not folder.endswith("/programs")
        and "/host_programs" not in folder
    ]
    assert not wrong, f"these folders lack __init__.py: {wrong}"


def test_every_module_says_what_lives_in_it():
    wrong = [name for name in python_files("orchestrator", "tests", "benchmarks") if not ast.get_docstring(parse(name))]
    assert not wrong, f"no docstring: {wrong}"


def test_nothing_of_ours_is_patched():
    """Lawful fakes and real parts only: a patched test repeats the code instead of judging it."""
    wrong = [
        str(imported)
        for name in python_files("orchestrator", "tests", "benchmarks")
        for imported in imports_in(parse(name), name)
        if imported.name.split(".")[0] == "mock" or imported.name.startswith(("unittest.mock", "pytest_mock"))
    ]
    assert not wrong, "\n".join(wrong)


def test_monkeypatch_touches_the_surroundings_only():
    """Environment and working folder belong to the test; attributes of code do not."""
    wrong = [
        f"{name}:{node.lineno}"
        for name in python_files("tests")
        for node in ast.walk(parse(name))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "monkeypatch"
        and node.attr not in {"setenv", "delenv", "chdir", "context", "undo", "syspath_prepend"}
    ]
    assert not wrong, wrong
