"""Programs on hosts that speak to the cloud themselves: the request as a word, keys of the cloud on standard input."""

import json
from pathlib import Path
from typing import Any, Protocol

from orchestrator.contracts.programs import program_text, root_user
from orchestrator.contracts.progress import Progress, ProgressSink, Rated
from orchestrator.contracts.transport import CommandResult, Transport
from orchestrator.foundation.errors import CommandFailed, DataError, MissingTool, RunInProgress
from orchestrator.targets.aws.session import EXPIRED, refusal

SECONDS_MAX = 7 * 24 * 3600.0
KEYS_RENEWED_MAX = 20  # keys of a role live an hour or more
# Reads the program from the front of standard input; what follows is the program's own.
LOADER = "import sys; exec(compile(sys.stdin.buffer.read(int(sys.argv[1])), 'skerry', 'exec'))"


class KeyGiver(Protocol):
    """Gives keys of the cloud that end by themselves."""

    def keys_for_host(self) -> dict[str, str]: ...


def ask_host(
    keys: KeyGiver,
    transport: Transport,
    program: Path,
    request: dict[str, Any],
    what: str,
    progress: ProgressSink | None = None,
) -> dict[str, Any]:
    """The program's result. Keys that ended meanwhile are replaced, and the program goes on where it was.

    Raises the cloud's refusal as a TargetError, the host's as a HostError or DataError.
    """
    for _ in range(KEYS_RENEWED_MAX):
        result = _run(keys.keys_for_host(), transport, program, request, what, progress)
        refused = result.get("refused")
        if refused is None or refused["code"] not in EXPIRED:
            break
    if refused is not None:
        raise _refusal(what, transport.host.name, refused)
    if "broken" in result:
        raise DataError(f"{transport.host.name}: {what}: {result['broken']}")
    return result


def _refusal(what: str, host: str, refused: dict[str, Any]) -> Exception:
    code, message = refused["code"], refused["message"]
    if code == "Busy":
        return RunInProgress(f"{host}: {what}: {message}")
    if code in ("WrongChecksum", "BeyondTheEnd", "Broken", "Different"):
        return DataError(f"{host}: {what}: {message}")
    return refusal(f"{what}, from {host}", code, message, refused["status"])


def _run(
    keys: dict[str, str],
    transport: Transport,
    program: Path,
    request: dict[str, Any],
    what: str,
    progress: ProgressSink | None,
) -> dict[str, Any]:
    text = program_text(program)

    show = Rated(progress)

    def hear(line: str) -> None:
        kind, _, told = line.partition(" ")
        if kind == "progress":
            value = json.loads(told)
            place = f"{request['do']} at {transport.host.name}"
            show(Progress(dataset=what, text=place, bytes_done=value["bytes"], bytes_total=value["total"]))

    done: CommandResult = transport.run(
        ["python3", "-I", "-S", "-c", LOADER, str(len(text)), json.dumps(request)],
        stdin=text + json.dumps(keys).encode(),
        user=root_user(transport.host),
        timeout_seconds=SECONDS_MAX,
        check=False,
        on_line=hear if progress is not None else None,
    )
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(b"result "):
            result: dict[str, Any] = json.loads(line[len(b"result ") :])
            return result
    said = done.stderr.decode(errors="replace").strip().splitlines()
    why = said[-1] if said else f"exit code {done.exit_code}"
    if done.exit_code == 127:
        raise MissingTool(f"{transport.host.name}: {why}", hint=f"Install python3 on {transport.host.name}.")
    raise CommandFailed(f"{transport.host.name}: {what}: the program ended without a result: {why}")
