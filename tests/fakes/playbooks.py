"""Playbooks in memory that obey contracts.playbooks: each is a function over a host and its variables."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.contracts.playbooks import PlaybookEvent, PlaybookResult
from orchestrator.foundation.canonical_json import digest_of
from orchestrator.foundation.errors import HostError, UsageError
from orchestrator.model.host import Host

# What a play does on one host: returns what it reports, or raises PlayFails or PlayLasts.
Play = Callable[[Host, Mapping[str, Any]], dict[str, Any]]


class PlayFails(Exception):
    """The play fails on this host, for the reason given."""


class PlayLasts(Exception):
    """The play is not over when its time is."""


@dataclass
class FakePlaybooks:
    """`plays` by name. `unreachable` names hosts whose HostError is raised before anything is done, as in reality.

    `ran` holds (playbook, host names, variables) of every run.
    """

    plays: dict[str, Play] = field(default_factory=dict)
    unreachable: dict[str, HostError] = field(default_factory=dict)
    ran: list[tuple[str, tuple[str, ...], dict[str, Any]]] = field(default_factory=list)

    def path(self, playbook: str) -> str:
        if playbook not in self.plays:
            raise UsageError(f"no playbook is called {playbook}")
        return f"/playbooks/{playbook}.yml"

    def run(
        self,
        playbook: str,
        *,
        hosts: Sequence[Host],
        variables: Mapping[str, Any],
        timeout_seconds: float,
        on_event: Callable[[PlaybookEvent], None] | None = None,
    ) -> PlaybookResult:
        self.path(playbook)
        for host in hosts:
            if host.name in self.unreachable:
                raise self.unreachable[host.name]
        self.ran.append((playbook, tuple(host.name for host in hosts), dict(variables)))
        started = time.monotonic()
        results: dict[str, dict[str, Any]] = {}
        failed: dict[str, str] = {}
        events: list[PlaybookEvent] = []

        def tell(event: str, **values: Any) -> None:
            counter = len(events) + 1
            events.append(PlaybookEvent(counter=counter, event=event, uuid=f"{playbook}-{counter}", **values))
            if on_event is not None:
                on_event(events[-1])

        status: Literal["successful", "failed", "timed_out"] = "successful"
        tell("playbook_on_start")
        for host in hosts:
            try:
                results[host.name] = self.plays[playbook](host, variables)
            except PlayFails as error:
                failed[host.name] = str(error)
                status = "failed"
                tell("runner_on_failed", host=host.name, task=playbook, failed=True, message=str(error))
            except PlayLasts:
                status = "timed_out"
                break
            else:
                tell("runner_on_ok", host=host.name, task=playbook, changed=True)
        if status != "timed_out":
            tell("playbook_on_stats")
        return PlaybookResult(
            playbook=playbook,
            digest=digest_of(playbook),
            status=status,
            rc={"successful": 0, "failed": 2, "timed_out": 254}[status],
            hosts_ok=() if status == "timed_out" else tuple(sorted(results)),
            hosts_failed=tuple(sorted(failed)),
            hosts_unreachable=(),
            events=len(events),
            seconds=max(time.monotonic() - started, 0.001),
            failures=tuple(f"{host}: {playbook}: {why}" for host, why in failed.items()),
            results=results,
        )
