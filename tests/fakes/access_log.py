"""What hosts saw, in memory; obeys the laws of contracts.access_log.AccessLog."""

from collections import Counter

from orchestrator.contracts.access_log import AccessReading
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.model.host import Host


class MemoryAccessLog:
    """`saw` notes a session at a host; reading leaves nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[str, Counter[str]] = {}

    def saw(self, host: Host, peer: Host) -> None:
        self._sessions.setdefault(host.name, Counter())[peer.address] += 1

    def read(self, host: Host, database_ports: tuple[int, ...]) -> AccessReading:
        sessions = dict(self._sessions.get(host.name, Counter()))
        return AccessReading(host=host.name, at=timestamp(self._clock.now()), ssh_sessions=sessions)
