"""Programs of ours on hosts, over any transport: a file, or a folder joined into one, of Python's standard library.

It stands beside the contracts because every room that works on hosts starts programs, and rooms do not import
each other.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.contracts.joined_program import joined_program, program_of_file
from orchestrator.contracts.transport import Transport
from orchestrator.foundation.errors import CommandFailed, MissingTool
from orchestrator.model.host import Host

# Isolated and without site packages: the host's Python start is most of the cost of a small program.
NAME_SHOWN_MAX = 320
PYTHON_WORDS = ("python3", "-I", "-S", "-")
# The path comes after them; what is written there is the input of the command.
TELL_WORDS = ("sh", "-c", 'cat > "$1"', "tell")


@cache
def program_text(path: Path) -> bytes:
    """What hosts get; `path` is a file, which comes with what it takes from beside it, or a folder of parts."""
    return joined_program(path) if path.is_dir() else program_of_file(path)


def run_program(
    transport: Transport,
    program: Path,
    request: dict[str, Any],
    *,
    user: str | None,
    timeout_seconds: float,
    on_event: Callable[[str, dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Run `program` on the host with `request` as its one argument; give back what it says as its result.

    The program says lines `KIND JSON`; the last one is `result {…}`. The request must hold no secret, for it is a word
    of the command. Raises MissingTool without python3 there, HostError when the program ends without a result.
    """
    result: dict[str, Any] = {}

    def hear(line: str) -> None:
        kind, _, text = line.partition(" ")
        if kind != "result" and on_event is not None and text.startswith("{"):
            on_event(kind, json.loads(text))

    words = [*PYTHON_WORDS, json.dumps(request)]
    done = transport.run(
        words,
        stdin=program_text(program),
        user=user,
        timeout_seconds=timeout_seconds,
        check=False,
        on_line=hear if on_event is not None else None,
    )
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(b"result "):
            result = json.loads(line[len(b"result ") :])
            break
    if done.exit_code == 0 and result:
        return result
    host = transport.host.name
    complaint = done.stderr.decode(errors="replace").strip().splitlines()
    why = complaint[-1] if complaint else f"exit code {done.exit_code}"
    if done.exit_code == 127:
        raise MissingTool(f"{host}: {why}", hint=f"Install python3 on {host}.")
    raise CommandFailed(f"{host}: {program.stem} ended without a result: {why}")


def root_user(host: Host) -> str | None:
    """As whom data is read and written: root by sudo, or the login user where it may do all it needs."""
    return "root" if host.become else None


def name_some(names: list[list[str]], count: int) -> str:
    """`a: why, b: why and 3 more` for messages; bytes that are no text are shown escaped."""
    shown = ", ".join(f"{printable(path)} ({why})" for path, why in names[:5])
    return shown + (f" and {count - 5} more" if count > 5 else "")


def printable(path: str) -> str:
    """A name as people can read it: line breaks and bytes that are no text as escapes, long ones cut in the middle."""
    raw = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in raw)
    return shown if len(shown) <= NAME_SHOWN_MAX else f"{shown[:150]} … {shown[-150:]}"
