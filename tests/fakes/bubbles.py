"""Bubbles without hosts: what is asked of them is kept, and what they answer can be set."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.contracts.bubbles import (
    Attempt,
    BubbleClone,
    BubbleCluster,
    BubbleData,
    BubbleService,
    CarriedBack,
    ForbiddenTarget,
    Isolation,
    Leftovers,
    StartedUnit,
)
from orchestrator.contracts.transport import Transport
from orchestrator.foundation.clock import Clock, SystemClock
from orchestrator.foundation.errors import DataError, HostUnreachable
from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.host import Host
from orchestrator.steps.drill_checks import LOOK
from orchestrator.steps.inject_programs import CUT
from tests.fakes.transport import Answer, FakeTransport

BINARIES = "/usr/lib/postgresql/15/bin"


@dataclass
class FakeBubbles:
    """One bubble on a host; nothing is started in one that is not open."""

    asked: list[str] = field(default_factory=list)
    reached: tuple[str, ...] = ()  # targets that an attempt gets through to
    fails: Mapping[str, str] = field(default_factory=dict)  # what the host says to `open`, `start` …
    wrong: list[list[str]] = field(default_factory=list)  # what the checks find, the first time, the second …
    interrupts: str = ""  # the deed at which somebody presses Ctrl-C
    changes: bool = False  # production shows something else each time it is looked at
    left: Leftovers = field(default_factory=Leftovers)
    open_on: dict[str, str] = field(default_factory=dict)
    targets: tuple[ForbiddenTarget, ...] = ()
    given: tuple[BubbleData, ...] = ()
    seconds_max: float = 0.0  # that the last one could live
    clusters: tuple[BubbleCluster, ...] = ()
    server_runs: bool = True
    decayed: str = ""  # what pg_verifybackup finds
    commands: list[tuple[str, ...]] = field(default_factory=list)  # run within, but for checks
    clock: Clock = field(default_factory=SystemClock)  # of the hosts
    statements: list[str] = field(default_factory=list)  # asked of clusters within
    read_seconds: float = 0.0
    cut: Mapping[str, Any] = field(default_factory=lambda: {"code": 30, "said": ["timeout"], "whole": 1, "of": 2})

    def open(
        self, host: Host, bubble: str, data: Sequence[BubbleData], units: Sequence[str], *, seconds_max: float
    ) -> Sequence[BubbleClone]:
        self.ask("open")
        if host.name in self.open_on:
            raise DataError(f"a bubble is here already: {self.open_on[host.name]}")
        if gone := [each for each in data if each.held.endswith(".missing")]:
            raise DataError(f"{host.name}: {gone[0].name}: what is held is not there: {gone[0].held}")
        self.open_on[host.name] = bubble
        self.given, self.seconds_max = tuple(data), seconds_max
        return [
            BubbleClone(dataset=each.name, how="blocks" if each.image else "overlay", seconds=0.1) for each in data
        ]

    def prove(self, host: Host, bubble: str, targets: Sequence[ForbiddenTarget]) -> Isolation:
        self.ask("prove")
        self.targets = tuple(targets)
        attempts = tuple(
            Attempt(attempt="network", target=each.name, reached=each.name in self.reached, outcome="")
            for each in targets
        )
        return Isolation(isolated=not any(each.reached for each in attempts), attempts=attempts)

    def start(
        self, host: Host, bubble: str, services: Sequence[BubbleService], clusters: Sequence[BubbleCluster]
    ) -> Sequence[StartedUnit]:
        self.ask("start " + " ".join(each.name for each in services))
        if self.open_on.get(host.name) != bubble:
            raise DataError(f"there is no bubble {bubble}")
        self.clusters += tuple(clusters)
        return [StartedUnit(unit=each.name, port=each.port, seconds=0.1) for each in services]

    def transport(self, host: Host, bubble: str) -> Transport:
        if self.open_on.get(host.name) != bubble:
            raise DataError(f"there is no bubble {bubble}")
        verify = f"{BINARIES}/pg_verifybackup"
        done = dict.fromkeys(("mount", "grep", "touch", "rsync"), self._done)
        return FakeTransport(host, programs={"python3": self._python, verify: self._verify, **done})

    def _python(self, words: Sequence[str], stdin: bytes) -> Answer:
        """The program of checks says what is wrong, the first time, the second; all else is done, and kept."""
        if LOOK in words:
            reads = dict.fromkeys(words[3:], self.read_seconds)
            room = dict.fromkeys(words[3:], max((each.bytes_max for each in self.given), default=0) or 1 << 40)
            looked = {"now": self.clock.now().timestamp(), "reads": reads, "room": room}
            return 0, json.dumps(looked).encode(), b""
        if CUT in words:
            return 0, json.dumps(self.cut).encode(), b""
        if not words[-1].startswith("{"):
            return self._done(words, stdin)
        self.ask("check")
        wrong = self.wrong.pop(0) if self.wrong else []
        found = {
            check["name"]: {"level": check["level"], "passed": not wrong, "wrong": wrong}
            for check in json.loads(words[-1])["checks"]
        }
        return bool(wrong), json.dumps({"report": {"checks": found}}).encode(), b""

    def _verify(self, words: Sequence[str], stdin: bytes) -> Answer:
        return bool(self.decayed), b"", self.decayed.encode()

    def _done(self, words: Sequence[str], stdin: bytes) -> Answer:
        self.commands.append(tuple(words))
        return 0, b"", b""

    def stop(self, host: Host, bubble: str, units: Sequence[str]) -> None:
        self.ask("stop " + " ".join(units))

    def shown(self, host: Host, units: Sequence[str], *, estate: Sequence[str] = ()) -> Mapping[str, str]:
        self.ask("look")
        if host.port == 1:
            raise HostUnreachable(f"{host.name}: connection refused")
        return {"open tcp": str(len(self.asked)) if self.changes else "0016"}

    def sql(self, cluster: PostgresCluster, inside: Transport, statement: str) -> str:
        self.statements.append(statement)
        return "2000-01-01 00:00:00+00" if self.expired and statement.startswith("select rolvaliduntil") else ""

    def runs(self, cluster: PostgresCluster, inside: Transport) -> bool:
        return self.server_runs

    def log_in(self, cluster: PostgresCluster, inside: Transport) -> None:
        if cluster.replication_password and self.expired:
            raise DataError(f"{cluster.name}: {cluster.replication_user} cannot log in: authentication failed")

    def carry_back(self, cluster: PostgresCluster, inside: Transport, folder: str) -> CarriedBack:
        self.ask(f"carry {cluster.name} to {folder}")
        return CarriedBack(dataset=cluster.name, digest="sha256:" + "1" * 64, bytes_carried=1000, seconds=0.1)

    @property
    def expired(self) -> bool:
        return any("valid until" in each for each in self.statements)

    def close(self, host: Host, bubble: str) -> Leftovers:
        self.ask("close")
        if self.open_on.get(host.name) == bubble:
            del self.open_on[host.name]
        return self.left

    def listed(self, host: Host) -> Sequence[str]:
        return [bubble for name, bubble in self.open_on.items() if name == host.name]

    def ask(self, what: str) -> None:
        self.asked.append(what)
        if what == self.interrupts:
            self.interrupts = ""
            raise KeyboardInterrupt
        if said := self.fails.get(what.split(maxsplit=1)[0]):
            raise DataError(said)
