"""Small rooms: most files under 400 lines, most functions under 70, and a reason beside each exception."""

import ast

from tests.architecture.source_tree import ROOT, parse, python_files

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

# path: why this is one story and not two
LARGE_FILES: dict[str, str] = {}


def line_count(path: str) -> int:
    return len((ROOT / path).read_text(encoding="utf-8").splitlines())


def test_files_are_small_or_say_why():
    lines = {path: line_count(path) for path in python_files("orchestrator", "benchmarks")}
    wrong = {path: count for path, count in lines.items() if count > FILE_LINES_MAX and path not in LARGE_FILES}
    assert not wrong, f"one story or two? {wrong}"


def test_reasons_for_large_files_are_still_needed():
    stale = [path for path in LARGE_FILES if not (ROOT / path).is_file() or line_count(path) <= FILE_LINES_MAX]
    assert not stale, f"take out of LARGE_FILES: {stale}"


def test_functions_are_short_or_say_why():
    """A sequence that reads from top to bottom may stay whole, with a comment `# long: why` in its first lines."""
    wrong = []
    for path in python_files("orchestrator", "benchmarks"):
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        for node in ast.walk(parse(path)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.end_lineno is None:
                continue
            length = node.end_lineno - node.lineno + 1
            head = lines[max(0, node.lineno - 2) : node.body[0].end_lineno or node.lineno]
            if length > FUNCTION_LINES_MAX and not any("# long: " in line for line in head):
                wrong.append(f"{path}:{node.lineno} {node.name} has {length} lines")
    assert not wrong, "\n".join(wrong)
