"""Whether replication goes on while a drill is under way, and is back within its limit afterwards."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.contracts.databases import Role
from orchestrator.contracts.drivers import Drivers
from orchestrator.foundation.errors import HostError, ReplicaLagging
from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.names import HostName
from orchestrator.model.site import Side
from orchestrator.model.system import System
from orchestrator.steps.bubble_system import clusters_of

CATCH_UP_SECONDS_MAX = 120.0


class StreamSeen(Frozen):
    """One look at the standby of a cluster: `when` is before, during or after the drill."""

    dataset: str
    when: str
    streaming: bool
    replayed: str
    bytes_behind: int
    seconds_behind: float | None


@dataclass
class Streams:
    """The clusters of the systems whose replica at DR streams from their source; looked at again and again.

    Trees and volumes are brought along by passes and stream nothing. A source that is not there is nothing to follow.
    """

    systems: Iterable[System]
    hosts: Mapping[HostName, Host]
    drivers: Drivers
    seen: list[StreamSeen] = field(default_factory=list)
    _followed: list[tuple[System, PostgresCluster, Host, Host]] = field(default_factory=list)

    def begin(self) -> None:
        for system in self.systems:
            for cluster in clusters_of(system):
                source, replica = (self.hosts[system.host_of(side, cluster.name)] for side in (Side.SOURCE, Side.DR))
                try:
                    if self.drivers.databases.role(cluster, replica) is Role.STANDBY:
                        self._look(cluster, source, replica, "before")
                        self._followed.append((system, cluster, source, replica))
                except HostError:
                    continue
        self._followed = [each for each in self._followed if self._streams(each[1].name)]

    def during(self) -> list[str]:
        """What has stopped meanwhile."""
        for _, cluster, source, replica in self._followed:
            self._look(cluster, source, replica, "during")
        names = [cluster.name for _, cluster, _, _ in self._followed]
        return [f"{name}: replication stopped meanwhile" for name in names if not self._streams(name)]

    def after(self) -> list[str]:
        """What is not back within its recovery point objective."""
        wrong = []
        for system, cluster, source, replica in self._followed:
            limit = min(system.objectives.rpo, CATCH_UP_SECONDS_MAX)
            try:
                self.drivers.databases.await_caught_up(cluster, source, replica, timeout_seconds=limit)
            except ReplicaLagging as error:
                wrong.append(f"{cluster.name}: not caught up within {limit:g} s after the drill: {error.message}")
            self._look(cluster, source, replica, "after")
            if not self._streams(cluster.name):
                wrong.append(f"{cluster.name}: replication does not go on after the drill")
        return wrong

    def _look(self, cluster: PostgresCluster, source: Host, replica: Host, when: str) -> None:
        lag = self.drivers.databases.lag(cluster, source, replica)
        self.seen.append(
            StreamSeen(
                dataset=cluster.name,
                when=when,
                streaming=lag.streaming,
                replayed=lag.replayed,
                bytes_behind=lag.bytes_behind,
                seconds_behind=lag.seconds_behind,
            )
        )

    def _streams(self, dataset: str) -> bool:
        return [each.streaming for each in self.seen if each.dataset == dataset][-1]
