"""The error tree as drawn is the error tree as defined."""

import inspect
import re

from orchestrator.foundation import errors


def drawn() -> list[tuple[str, str, int, bool]]:
    """(name, parent, exit code, retryable) of each line of the drawing."""
    rows = []
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"( *)([A-Z]\w+) +(\d+)(?: +(.*))?", line)
        if not match:
            continue
        indent, name, code, words = len(match[1]), match[2], int(match[3]), match[4] or ""
        while path and path[-1][0] >= indent:
            path.pop()
        rows.append((name, path[-1][1] if path else "", code, words.startswith("retryable")))
        path.append((indent, name))
    return rows


def defined() -> dict[str, type[errors.OrchestratorError]]:
    return {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.OrchestratorError) and kind.__module__ == errors.__name__
    }


def test_every_class_is_drawn_once_and_every_drawing_is_a_class():
    names = [name for name, *_ in drawn()]
    assert sorted(names) == sorted(defined())


def test_parents_codes_and_retryability_are_as_drawn():
    classes = defined()
    for name, parent, code, retryable in drawn():
        kind = classes[name]
        assert kind.exit_code == code, name
        assert kind.retryable is retryable, name
        if parent:
            assert classes[parent] in kind.__mro__, f"{name} is drawn below {parent}"


def test_every_class_says_what_is_wrong():
    assert [name for name, kind in defined().items() if not kind.__doc__] == []


def test_siblings_differ_in_their_exit_code():
    """Only an error whose code is its parent's may share one."""
    seen: dict[int, str] = {}
    for name, parent, code, _ in drawn():
        parent_code = defined()[parent].exit_code if parent else None
        if code != parent_code:
            assert code not in seen, f"{name} and {seen[code]} share exit code {code}"
            seen[code] = name
