"""Hosts that are about to be asked much while clients wait."""

from collections.abc import Sequence
from typing import Protocol

from orchestrator.model.host import Host


class ReadyHosts(Protocol):
    """A hint, given while there is time.

    Laws (tests/platform/test_hosts_ssh.py):
      stand_ready   changes nothing but how long commands take: every law of contracts.transport holds as before
      stand_ready   fails only as connecting does; where a host cannot stand ready, commands go the long way
      what stands ready ends with this process and with the connection
    """

    def stand_ready(self, host: Host, users: Sequence[str | None]) -> None:
        """Commands on `host` as one of `users` (None: the login user) will come soon, and must not wait."""
        ...
