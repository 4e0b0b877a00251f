"""Who reached a host: how it is shown that production was left alone."""

from typing import Protocol

from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host


class AccessReading(Frozen):
    """What a host's own records say at one moment."""

    host: str
    at: str
    ssh_sessions: dict[str, int] = {}  # peer address → sessions accepted so far
    database_peers: dict[str, int] = {}  # peer address → connections to database ports now
    bytes_sent: int = 0  # by its network interfaces, to anybody, so far


class AccessLog(Protocol):
    """Laws: reading twice with nothing between gives equal sessions apart from our own; touches nothing."""

    def read(self, host: Host, database_ports: tuple[int, ...]) -> AccessReading: ...
