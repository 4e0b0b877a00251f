"""The repository as the architecture tests see it: tracked files, modules, and every import wherever it stands."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "orchestrator"


@dataclass(frozen=True)
class Import:
    """One import statement: `module` imports `name` at `line`; `guarded` says it stands under TYPE_CHECKING."""

    path: str
    line: int
    module: str
    name: str
    guarded: bool = False

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.name}"


@cache
def tracked_files() -> tuple[str, ...]:
    """Files of the repository that a commit would hold: tracked, or new and not ignored."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(words, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return tuple(sorted({name for name in listing.split("\0") if name and (ROOT / name).is_file()}))


def python_files(*folders: str) -> list[str]:
    return [name for name in tracked_files() if name.endswith(".py") and name.split("/", 1)[0] in folders]


def parse(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=path)


def module_name(path: str) -> str:
    """`orchestrator/hosts/ssh.py` is `orchestrator.hosts.ssh`; a package's own file is the package."""
    words = path.removesuffix(".py").split("/")
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def imports_in(tree: ast.Module, path: str) -> Iterator[Import]:
    """Every import of a file: at the top, inside functions, under TYPE_CHECKING, relative or by `import_module`."""
    module = module_name(path)
    package = module if path.endswith("__init__.py") else module.rpartition(".")[0]

    def found(node: ast.AST, guarded: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, module, alias.name, guarded)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                kept = package.split(".")[: len(package.split(".")) - node.level + 1]
                origin = ".".join([*kept, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(path, node.lineno, module, f"{origin}.{alias.name}", guarded)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            callee = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if callee in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield Import(path, node.lineno, module, node.args[0].value, guarded)

    def walk(node: ast.AST, guarded: bool) -> Iterator[Import]:
        yield from found(node, guarded)
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            for child in node.body:
                yield from walk(child, True)
            for child in node.orelse:
                yield from walk(child, guarded)
            return
        for inner in ast.iter_child_nodes(node):
            yield from walk(inner, guarded)

    yield from walk(tree, False)


@cache
def modules() -> frozenset[str]:
    return frozenset(module_name(path) for path in python_files(PACKAGE))


def target_module(imported: Import) -> str | None:
    """The module of ours that an import reaches, or None: `a.b.C` reaches `a.b` when C is no module."""
    name = imported.name
    while name:
        if name in modules():
            return name
        name = name.rpartition(".")[0]
    return None


@cache
def own_imports() -> tuple[Import, ...]:
    return tuple(imported for path in python_files(PACKAGE) for imported in imports_in(parse(path), path))
