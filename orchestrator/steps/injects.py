"""What a drill may find wrong on purpose: something broken within its bubble that has to be found, and named."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.contracts.bubbles import BubbleData, ClustersWithin
from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.transport import Transport
from orchestrator.foundation.clock import Clock
from orchestrator.foundation.errors import DataError, UsageError
from orchestrator.model.dataset import FileTree, PostgresCluster
from orchestrator.model.drill import InjectName
from orchestrator.model.host import Host
from orchestrator.model.names import Name, SystemName
from orchestrator.model.site import Side
from orchestrator.model.system import System
from orchestrator.steps.inject_programs import CUT, FLIP, SLOW
from orchestrator.steps.inject_turns import why_not_into
from orchestrator.steps.places import services_in_start_order

# Says one event of a system to the evidence; durable when it returns.
Record = Callable[[SystemName, str, dict[str, Any]], None]

ROOM_BYTES = 64 * 1024
WRONG_PLACE = "/usr/share"  # of the host, read-only in any bubble
SLOW_READ_SECONDS = 0.4
CLOCK_OFF = timedelta(hours=1)
NOBODY_LISTENS = 1  # the port at which the primary is looked for when its API is to be dead
EXPIRE = "alter role \"{user}\" valid until '2000-01-01 00:00:00+00'"
PROVED = "it was proved to be"


class ClockOff:
    """A clock of this machine that is an hour ahead."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now() + CLOCK_OFF

    def monotonic_seconds(self) -> float:
        return self._clock.monotonic_seconds()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)


@dataclass(frozen=True)
class Inject:
    """One of the catalogue, for one system; without a name, none."""

    name: InjectName | None
    system: System

    def __post_init__(self) -> None:
        if self.name is not None and (why := why_not_into(self.name, self.system)):
            raise UsageError(f"{why}, so {self.name} cannot be put into its bubble")

    @property
    def about(self) -> str:
        """What it is put into, as findings call it."""
        return ", ".join(self._names())

    def _names(self) -> list[str]:
        if self.name in ("tampered_file", "wrong_mapping", "dead_link", "replica_behind"):
            return [self._tree().name]
        if self.name in ("corrupted_block", "expired_credential"):
            return [self._cluster().name]
        if self.name == "missing_point":
            return [self.system.datasets[0].name]
        if self.name == "dead_primary":
            return [self.system.host_of(Side.SOURCE)]
        if self.name == "stopped_dependency":
            stopped = list(self.not_started(self.system))
            return stopped + [each.name for each in _clusters(self.system) if each.service in stopped]
        return [each.name for each in self.system.datasets]

    # -- what it breaks

    def clock(self, clock: Clock) -> Clock:
        """The drill's own. No clock of a host can be put wrong for a bubble alone, so this one is."""
        return ClockOff(clock) if self.name == "clock_off" else clock

    def primary(self, host: Host) -> Host:
        """Where the drill looks for a host of the source."""
        return host.model_copy(update={"port": NOBODY_LISTENS}) if self.name == "dead_primary" else host

    def given(self, data: Sequence[BubbleData]) -> list[BubbleData]:
        """The datasets as the bubble is opened with them."""
        if self.name == "quota_full":
            return [each if each.image else each.model_copy(update={"bytes_max": ROOM_BYTES}) for each in data]
        if self.name == "missing_point":
            first = data[0]
            return [first.model_copy(update={"held": f"{first.held}.missing"}), *data[1:]]
        return list(data)

    @property
    def wants_older(self) -> Name | None:
        """The dataset that is to be given as an older point held it."""
        return self._tree().name if self.name == "replica_behind" else None

    def act(self, host: Host, inside: Transport) -> None:
        """Break it, once the bubble is proved isolated and before anything starts."""
        places = [host.path(each.path) for each in self.system.datasets if isinstance(each, FileTree)]
        places += [host.path(each.data_directory) for each in _clusters(self.system)]
        match self.name:
            case "tampered_file":
                inside.run(["python3", "-c", FLIP, host.path(self._tree().path)])
            case "corrupted_block":
                inside.run(["python3", "-c", FLIP, f"{host.path(self._cluster().data_directory)}/base"])
            case "wrong_mapping":
                inside.run(["mount", "--bind", WRONG_PLACE, host.path(self._tree().path)])
            case "slow_disk":
                inside.run(["python3", "-c", SLOW, str(SLOW_READ_SECONDS), *places])
            case "dead_link":
                self._cut(host, inside)

    def _cut(self, host: Host, inside: Transport) -> None:
        """Copy a sample, cut the link meanwhile; DataError with what came of it, unless all came in spite of that."""
        tree = self._tree()
        found = json.loads(inside.run(["python3", "-c", CUT, host.path(tree.path), host.address]).stdout)
        if found["code"] or found["whole"] < found["of"]:
            told = f"{found['whole']} of {found['of']} files came: {' '.join(found['said'])}"
            raise DataError(f"{tree.name}: the copy broke off, {told}")

    def act_on_cluster(self, cluster: PostgresCluster, inside: Transport, clusters: ClustersWithin) -> None:
        """Break it, once the cluster serves within."""
        if self.name == "expired_credential" and cluster == self._cluster():
            clusters.sql(cluster, inside, EXPIRE.format(user=cluster.replication_user))

    def not_started(self, system: System) -> Collection[Name]:
        if self.name != "stopped_dependency":
            return ()
        clusters = _clusters(system)
        if clusters:
            return (clusters[0].service,)
        return (services_in_start_order(system.services)[0].name,)

    # -- whether it was found

    @property
    def shows_before_opening(self) -> bool:
        """It is found without a bubble that was proved isolated."""
        return self.name in ("missing_point", "dead_primary")

    @property
    def must_not_stop(self) -> bool:
        """The system has to recover in spite of it."""
        return self.name == "dead_primary"

    def is_named_by(self, why: str) -> bool:
        """Whether a reason why the drill did not pass names what was broken, and how."""
        signs = {
            "tampered_file": PROVED,
            "wrong_mapping": PROVED,
            "missing_point": "what is held is not there",
            "expired_credential": "expired",
            "dead_primary": "could not be looked at",
            "dead_link": "the copy broke off",
            "slow_disk": "a read takes",
            "replica_behind": "is behind",
            "quota_full": "has no room",
        }
        match self.name:
            case "stopped_dependency" if "no answer" in why:
                return True  # a service that is not there answers no check, and the check says so
            case "clock_off":
                return "the clock of" in why
        return signs.get(self.name or "", "") in why and any(name in why for name in self._names())

    def judge(
        self, within: Sequence[str], unseen: Sequence[str], *, isolated: bool, recovered: bool
    ) -> tuple[str, tuple[str, ...]]:
        """What named the inject, and why the drill did not pass. `within` is what was wrong in the bubble, `unseen`
        what of the source could not be looked at.
        """
        if self.name is None:
            return "", (*within, *unseen)
        told = (*within, *unseen) if isolated or self.shows_before_opening else ()
        named = [why for why in told if self.is_named_by(why)]
        left = within if self.must_not_stop else unseen
        if named and self.must_not_stop and not recovered:
            return "", tuple(within)
        if named:
            return "; ".join(named), tuple(left)
        missed = f"{self.name} was put into the drill ({self.about}), and nothing named it"
        return "", (missed, *within, *unseen)

    def keep(self, catalogue: Catalogue, record: Record, drill: str, *, at: str, found: str) -> None:
        """Keep when it was put into a drill of the system; its first run that found it proves it, and is on record."""
        if self.name is None:
            return
        key = f"{self.system.name}/{self.name}"
        proved = (catalogue.get("drill_inject", key) or {}).get("proved_by", "")
        if found and not proved:
            proved = drill
            record(self.system.name, "inject.proved", {"inject": self.name, "drill": drill, "found": found})
        kept = {"inject": self.name, "at": at, "drill": drill, "found": found, "proved_by": proved}
        catalogue.put("drill_inject", key, kept)

    def _tree(self) -> FileTree:
        return next(each for each in self.system.datasets if isinstance(each, FileTree))

    def _cluster(self) -> PostgresCluster:
        return _clusters(self.system)[0]


def _clusters(system: System) -> list[PostgresCluster]:
    return [each for each in system.datasets if isinstance(each, PostgresCluster)]
