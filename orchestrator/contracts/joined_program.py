"""Programs of several parts: a folder of modules, read and tested as it stands, is sent to hosts as one file.

The folder's `program.py` is where the program begins. A part imports the standard library, and names of other parts
by `from …<folder>.<part> import name, …`; it does nothing else when it is imported but define what it is for. Names of
a file beside the folder, or beside a program of one file, come the same way: what several programs need stands there.
"""

import ast
import threading
from functools import cache
from pathlib import Path

ENTRY = "program"
FOR_TYPES_ALONE = {"__future__", "typing", "collections.abc"}  # hosts read no types, and importing them takes time
# Python before 3.11.5 has one counter for the depth of all trees that threads build, and fails when two do at once.
_BUILDING_TREES = threading.Lock()


def joined_program(folder: Path) -> bytes:
    """The parts that `program.py` needs, each after those that it imports, as one file for a host's Python."""
    ordered: list[str] = []
    with _BUILDING_TREES:
        _place(folder, ENTRY, ordered)
        pieces = [_without_imports(folder, name) for name in ordered]
        beside = {name for part in ordered for name in _beside(folder.parent, _parsed(folder, part))}
        pieces = [_definitions_of(folder.parent / f"{name}.py") for name in sorted(beside)] + pieces
    return ("from __future__ import annotations\n\n" + "\n\n".join(pieces)).encode()


def program_of_file(program: Path) -> bytes:
    """A program of one file: as it stands, or after the files beside it whose names it imports."""
    text = program.read_bytes()
    with _BUILDING_TREES:
        names = _beside(program.parent, ast.parse(text, filename=program.name))
    return with_libraries(program, *(program.parent / f"{name}.py" for name in names)) if names else text


@cache
def with_libraries(program: Path, *libraries: Path) -> bytes:
    """A program of one file, after the programs whose names it imports; those do nothing of their own then.

    Of a library that is a folder, it gets the parts that it takes names from, and those that they need.
    """
    lines = program.read_text(encoding="utf-8").splitlines()
    with _BUILDING_TREES:
        tree = ast.parse("\n".join(lines), filename=program.name)
        pieces = [piece for library in libraries for piece in _definitions(library, tree)]
    names = tuple(f".{library.stem}" for library in libraries)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (
            (node.module or "").endswith(names)
            or node.module in FOR_TYPES_ALONE
            or any(_named(library, node) for library in libraries)
        ):
            _blank(lines, node)
    return ("from __future__ import annotations\n\n" + "\n\n".join([*pieces, "\n".join(lines)]) + "\n").encode()


def _definitions(library: Path, program: ast.Module) -> list[str]:
    if library.is_dir():
        ordered: list[str] = []
        for part in sorted(_imported(library, program)):
            if part not in ordered:
                _place(library, part, ordered)
        return [_without_imports(library, part) for part in ordered]
    return [_definitions_of(library)]


def _definitions_of(library: Path) -> str:
    """What a file defines: without its imports of types and of other files, and without its own beginning."""
    lines = library.read_text(encoding="utf-8").splitlines()
    tree = ast.parse("\n".join(lines), filename=library.name)
    beside = _beside(library.parent, tree)
    for node in tree.body:
        begins = isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
        imported = isinstance(node, ast.ImportFrom) and (
            node.module in FOR_TYPES_ALONE or _named(library.parent, node) in beside
        )
        if begins or imported:
            _blank(lines, node)
    return f"# --- {library.stem}\n" + "\n".join(lines)


def _beside(folder: Path, tree: ast.Module) -> list[str]:
    """Files of `folder` that a program takes names from, each once."""
    names = [_named(folder, node) for node in tree.body if isinstance(node, ast.ImportFrom)]
    return sorted({name for name in names if name and (folder / f"{name}.py").is_file()})


def _blank(lines: list[str], node: ast.stmt) -> None:
    for line in range(node.lineno - 1, node.end_lineno or node.lineno):
        lines[line] = ""


def parts_imported(folder: Path, part: str) -> dict[str, list[str]]:
    """Names that a part takes from other parts of its folder."""
    return _imported(folder, _parsed(folder, part))


def _imported(folder: Path, tree: ast.Module) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (other := _named(folder, node)):
            found.setdefault(other, []).extend(alias.name for alias in node.names)
    return found


def _place(folder: Path, part: str, ordered: list[str]) -> None:
    for other in sorted(parts_imported(folder, part)):
        if other not in ordered:
            _place(folder, other, ordered)
    ordered.append(part)


def _named(folder: Path, node: ast.ImportFrom) -> str:
    """The part of `folder` that names are taken from; "" for what is no part of it."""
    package, _, part = (node.module or "").rpartition(".")
    return part if package.endswith(f".{folder.name}") else ""


def _without_imports(folder: Path, part: str) -> str:
    """A part without its docstring, without imports of other parts and of types."""
    lines = (folder / f"{part}.py").read_text(encoding="utf-8").splitlines()
    tree = _parsed(folder, part)
    for number, node in enumerate(tree.body):
        is_docstring = number == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_import = isinstance(node, ast.ImportFrom) and (
            node.module in FOR_TYPES_ALONE or _named(folder, node) or _named(folder.parent, node)
        )
        if is_docstring or is_import:
            for line in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[line] = ""
    return f"# --- {part}\n" + "\n".join(lines).strip("\n") + "\n"


def _parsed(folder: Path, part: str) -> ast.Module:
    return ast.parse((folder / f"{part}.py").read_text(encoding="utf-8"), filename=f"{part}.py")
