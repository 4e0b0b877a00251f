"""Guards of starts in memory: what playbooks/files/fence.py keeps on a host below /etc/skerry/starts and /run/skerry.

The real program and this one pass the same laws (tests/laws/starts_laws.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.playbooks import PlayFails


@dataclass
class FakeStarts:
    """By host. `running` and `start` are the host's own: which units run, and starting what starts with it."""

    running: Callable[[str], list[str]]
    start: Callable[[str], list[str]]
    boots: dict[str, int] = field(default_factory=dict)
    guarded: set[str] = field(default_factory=set)
    permitted: set[str] = field(default_factory=set)
    by_hand: dict[str, list[str]] = field(default_factory=dict)

    def may_start(self, host: str) -> bool:
        return host not in self.guarded or host in self.permitted

    def booted(self, host: str) -> None:
        self.boots[host] = self.boots.get(host, 0) + 1
        self.permitted.discard(host)

    def boot_of(self, host: str) -> str:
        return f"boot {self.boots.get(host, 0)} of {host}"

    def permit(self, host: str) -> None:
        """As whatever lets the side serve does on its way."""
        if host in self.guarded:
            self.permitted.add(host)

    def look(self, host: str, fence: dict[str, Any] | None, let_by: int) -> dict[str, Any]:
        return {
            "boot": self.boot_of(host),
            "guarded": host in self.guarded,
            "permitted": host in self.permitted,
            "running": self.running(host),
            "fence": fence,
            "let_by": let_by,
            "by_hand": self.by_hand.get(host, []),
        }

    def obey(self, host: str, do: str, boot: str, fence: dict[str, Any] | None) -> dict[str, Any]:
        if fence is not None:
            raise PlayFails("a fence stands there: no start is permitted behind it")
        if boot != self.boot_of(host):
            raise PlayFails("this host has booted since it was looked at: nothing was permitted")
        self.permitted.add(host)
        if do == "guard":
            self.guarded.add(host)
        return {"boot": boot, "started": self.start(host) if do == "permit" else []}
