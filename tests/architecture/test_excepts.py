"""Return or raise, never swallow: broad excepts stand in the named places only; trouble is never an assert."""

import ast

from tests.architecture.source_tree import parse, python_files

# path: why everything is caught there
BROAD_EXCEPTS = {
    "orchestrator/engine/step_protocol.py": "the step boundary: an unexpected error ends the step, and is recorded",
    "orchestrator/engine/database.py": "writes that were made together: a failure goes to the one whose write it was",
    "orchestrator/engine/deed_threads.py": "hands whatever happened to the one who waits for it",
    "orchestrator/engine/durable.py": "the border to the durable engine",
    "orchestrator/engine/worker.py": "what ends the worker's thread is kept for the one who waits for the run",
    "orchestrator/cli/app.py": "the last line before a person: exit code and message",
    "orchestrator/web/server.py": "one broken page must not end the server",
}


def is_broad(handler: ast.ExceptHandler) -> bool:
    named = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = {"Exception", "BaseException"}
    return any(kind is None or (isinstance(kind, ast.Name) and kind.id in broad) for kind in named)


def raises_again(handler: ast.ExceptHandler) -> bool:
    """An except that tidies up and raises swallows nothing."""
    return any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))


def test_broad_excepts_stand_in_the_named_places_only():
    wrong = [
        f"{name}:{node.lineno}"
        for name in python_files("orchestrator")
        if name not in BROAD_EXCEPTS and "/programs/" not in name and "/host_programs/" not in name
        for node in ast.walk(parse(name))
        if isinstance(node, ast.ExceptHandler) and is_broad(node) and not raises_again(node)
    ]
    assert not wrong, f"name the errors: {wrong}"


def tells_the_type_checker(test: ast.expr) -> bool:
    """`x is not None` and `isinstance(x, T)`, alone or joined: what is known here and cannot be written as a type."""
    if isinstance(test, ast.BoolOp):
        return all(tells_the_type_checker(part) for part in test.values)
    if isinstance(test, ast.Compare):
        return isinstance(test.ops[0], ast.IsNot)
    return isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id == "isinstance"


def test_no_asserts_for_the_trouble_of_the_world():
    wrong = [
        f"{name}:{node.lineno}"
        for name in python_files("orchestrator")
        for node in ast.walk(parse(name))
        if isinstance(node, ast.Assert) and not tells_the_type_checker(node.test)
    ]
    assert not wrong, f"raise an error of the tree: {wrong}"
