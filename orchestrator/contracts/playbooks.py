"""Playbooks on hosts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host


class PlaybookEvent(Frozen):
    """One event of a run as the executor counted it; the counter makes completeness checkable."""

    counter: int
    event: str
    uuid: str
    parent_uuid: str = ""
    host: str = ""
    task: str = ""
    action: str = ""
    changed: bool = False
    failed: bool = False
    unreachable: bool = False
    rc: int | None = None
    stdout: str = ""
    message: str = ""
    duration_seconds: float | None = None


class PlaybookResult(Frozen):
    playbook: str
    digest: str  # of the playbook file
    status: Literal["successful", "failed", "timed_out", "cancelled"]
    rc: int
    hosts_ok: tuple[str, ...]
    hosts_failed: tuple[str, ...]
    hosts_unreachable: tuple[str, ...]
    events: int
    seconds: float
    failures: tuple[str, ...] = ()  # host: task: message
    results: dict[str, dict[str, Any]] = {}  # host → what the play reported through `set_stats`/`skerry_result`
    versions: dict[str, str] = {}


class Playbooks(Protocol):
    """Runs shipped playbooks.

    Laws (tests/laws/playbooks_laws.py):
      run   returns for every ended play, successful or not; raises only when it could not be run at all
      run   keeps no secret on disk after it returned, and leaves no process of its own behind
      a status of timed_out or cancelled means: outcome unknown, the host may still be at it
      on_event gets every event once, in order of its counter
    """

    def run(
        self,
        playbook: str,
        *,
        hosts: Sequence[Host],
        variables: Mapping[str, Any],
        timeout_seconds: float,
        on_event: Callable[[PlaybookEvent], None] | None = None,
    ) -> PlaybookResult: ...

    def path(self, playbook: str) -> str:
        """Where the playbook lies; for the plan's closure."""
        ...
