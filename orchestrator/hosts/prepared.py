"""contracts.playbooks.Playbooks without Ansible: the same deeds by programs of ours, over connections that are open.

A program is one file of Python's standard library, sent through standard input; the host bounds its time and ends its
process group when this program or the connection dies. It costs some tens of milliseconds where a play costs seconds,
so it is what runs while clients wait.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from orchestrator.contracts.playbooks import PlaybookEvent, PlaybookResult
from orchestrator.contracts.programs import PYTHON_WORDS, program_text, root_user
from orchestrator.contracts.transport import CommandResult
from orchestrator.foundation.errors import CommandTimedOut, UsageError
from orchestrator.hosts.ssh import SshTransports
from orchestrator.model.host import Host

# The deed → its program, in the folder `files` beside the playbooks.
SHIPPED = {
    "drain": "services.py",
    "start": "services.py",
    "stop": "services.py",
    "fence": "fence.py",
    "unfence": "fence.py",
    "confirm": "fence.py",
    "recover": "fence.py",
    "look": "fence.py",
    "guard": "fence.py",
    "permit": "fence.py",
    "unguard": "fence.py",
    "check": "checks.py",
}
# No steps of a runbook: what moves authority confirms first, what carries writes back opens what is held back, and
# starts are guarded outside of runs.
WITHOUT_PLAYBOOK = ("confirm", "recover", "look", "guard", "permit", "unguard")
AS_LOGIN_USER = ("check",)  # what only asks needs no more rights


@dataclass
class _Ended:
    """What came of the programs, host by host."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)
    timed_out: bool = False


class PreparedPlaybooks:
    """Any number of threads may use it. `programs` says which file does which deed."""

    def __init__(self, transports: SshTransports, programs: Mapping[str, Path]) -> None:
        self._transports = transports
        self._programs = dict(programs)

    def path(self, playbook: str) -> str:
        program = self._programs.get(playbook)
        if program is None or not program.is_file():
            raise UsageError(f"no program is prepared for {playbook}; there are: {', '.join(sorted(self._programs))}")
        return str(program)

    def run(
        self,
        playbook: str,
        *,
        hosts: Sequence[Host],
        variables: Mapping[str, Any],
        timeout_seconds: float,
        on_event: Callable[[PlaybookEvent], None] | None = None,
    ) -> PlaybookResult:
        """See the contract; one event per host. A host that cannot be reached raises before anything is done."""
        program = Path(self.path(playbook))
        text = program_text(program)
        started = time.monotonic()
        with ExitStack() as stack:
            for host in hosts:
                stack.enter_context(self._transports.pool(host).session())

        def ask(host: Host) -> CommandResult | CommandTimedOut:
            words = [*PYTHON_WORDS, json.dumps(request_of(playbook, host, variables))]
            user = None if playbook in AS_LOGIN_USER else root_user(host)
            try:
                return self._transports(host).run(
                    words, stdin=text, user=user, timeout_seconds=timeout_seconds, check=False
                )
            except CommandTimedOut as error:
                return error

        with ThreadPoolExecutor(max_workers=max(1, len(hosts))) as pool:
            answers = list(zip(hosts, pool.map(ask, hosts), strict=True))
        ended = _Ended()
        for number, (host, answer) in enumerate(answers, start=1):
            _take(ended, host, answer)
            if on_event is not None:
                on_event(_event(number, playbook, host, ended))
        status: Literal["successful", "failed", "timed_out"] = "failed" if ended.failures else "successful"
        if ended.timed_out:
            status = "timed_out"
        return PlaybookResult(
            playbook=playbook,
            digest="sha256:" + hashlib.sha256(text).hexdigest(),
            status=status,
            rc={"successful": 0, "failed": 2, "timed_out": 254}[status],
            hosts_ok=() if ended.timed_out else tuple(sorted(set(ended.results) - set(ended.failures))),
            hosts_failed=tuple(sorted(ended.failures)),
            hosts_unreachable=(),
            events=len(hosts),
            seconds=round(time.monotonic() - started, 3),
            failures=tuple(f"{name}: {why}" for name, why in sorted(ended.failures.items())),
            results=ended.results,
        )


def shipped_programs(folder: Path) -> dict[str, Path]:
    """The shipped programs by deed; `folder` is that of the playbooks."""
    return {deed: folder / "files" / name for deed, name in SHIPPED.items()}


def request_of(playbook: str, host: Host, variables: Mapping[str, Any]) -> dict[str, Any]:
    """What a program is told: the variables of playbooks, of which only what belongs to `host`."""
    services = [each for each in variables.get("skerry_services", ()) if each["address"] == host.address]
    databases = [each for each in variables.get("skerry_databases", ()) if each["host"] == host.name]
    return {
        "do": playbook,
        "prefix": host.path_prefix,
        "system": variables.get("skerry_system", ""),
        "side": variables.get("skerry_side", ""),
        **variables.get("skerry_fence", {}),
        "boot": variables.get("skerry_boots", {}).get(host.name, ""),
        "services": services,
        "databases": databases,
        "checks": list(variables.get("skerry_checks", ())),
    }


def _take(ended: _Ended, host: Host, answer: CommandResult | CommandTimedOut) -> None:
    if isinstance(answer, CommandTimedOut):
        ended.timed_out = True
        ended.failures[host.name] = answer.message.removeprefix(f"{host.name}: ")
        return
    said = answer.stdout.decode(errors="replace").strip().splitlines()
    try:
        told = json.loads(said[-1]) if said else {}
    except ValueError:
        told = {}
    if isinstance(told, dict) and isinstance(told.get("report"), dict):
        ended.results[host.name] = told["report"]
        if told.get("changed"):
            ended.changed.add(host.name)
    if answer.exit_code or host.name not in ended.results:
        complaint = answer.stderr.decode(errors="replace").strip().splitlines()
        ended.failures[host.name] = complaint[-1] if complaint else f"it ended with {answer.exit_code} and said nothing"


def _event(counter: int, playbook: str, host: Host, ended: _Ended) -> PlaybookEvent:
    why = ended.failures.get(host.name, "")
    return PlaybookEvent(
        counter=counter,
        event="runner_on_failed" if why else "runner_on_ok",
        uuid=f"{playbook}-{counter}",
        host=host.name,
        task=playbook,
        action="program",
        changed=host.name in ended.changed,
        failed=bool(why),
        message=why,
    )
