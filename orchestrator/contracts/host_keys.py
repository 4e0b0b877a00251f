"""The SSH host keys of machines that did not exist when the inventory was written."""

from collections.abc import Sequence
from typing import Protocol

from orchestrator.model.host import Host


class HostKeyRing(Protocol):
    """Learned host keys, one set per host.

    Laws (tests/laws/host_key_ring_laws.py):
      learn   is durable; learning the same keys again changes nothing; other keys replace, for a machine made anew
      the source of what is learned is the provider's own word (console output), never the first connection
    """

    def learn(self, host: Host, keys: Sequence[str]) -> None: ...
    def fingerprints(self, host: Host) -> Sequence[str]: ...
