"""Who reached a host, by the host's own records: how it is shown that production was left alone."""

import json

from orchestrator.contracts.access_log import AccessReading
from orchestrator.contracts.transport import Transports
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.errors import CommandFailed
from orchestrator.model.host import Host
from orchestrator.survey.probes import program


class HostAccessLog:
    """contracts.access_log.AccessLog: sshd's journal or log files, and the kernel's table of connections."""

    def __init__(self, transports: Transports, clock: Clock) -> None:
        self._transports = transports
        self._clock = clock

    def read(self, host: Host, database_ports: tuple[int, ...]) -> AccessReading:
        """See the contract. CommandFailed when the host keeps no record of SSH sessions: silence proves nothing."""
        request = {
            "prefix": host.path_prefix,
            # Hosts that share one machine share its table of connections.
            "address": host.address if host.path_prefix else "",
            "database_ports": sorted(database_ports),
        }
        at = timestamp(self._clock.now())
        answer = self._transports(host).run(
            ["python3", "-", json.dumps(request, sort_keys=True)],
            stdin=program("visitors"),
            user="root" if host.become else None,
        )
        found = json.loads(answer.text.splitlines()[-1])
        if not found["ssh_records"]:
            raise CommandFailed(
                f"{host.name} keeps no record of SSH sessions, so it cannot be shown who reached it",
                hint="Keep sshd's log in the journal or below /var/log, with LogLevel INFO or more.",
            )
        return AccessReading(
            host=host.name,
            at=at,
            ssh_sessions=found["ssh_sessions"],
            database_peers=found["database_peers"],
            bytes_sent=found["bytes_sent"],
        )
