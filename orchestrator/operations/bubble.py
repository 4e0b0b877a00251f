"""A drill in a bubble: a held recovery point of a system, started at DR where production is not reached, and checked.

Production is looked at before and after. The bubble is proved isolated before anything is started in it, and taken away
at the end, whatever came of it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.contracts.bubbles import (
    Attempt,
    BubbleClone,
    BubbleCluster,
    BubbleData,
    Bubbles,
    BubbleService,
    ForbiddenTarget,
    Leftovers,
    StartedUnit,
)
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import (
    DataError,
    DigestMismatch,
    GateClosed,
    OrchestratorError,
    RunFailed,
    UsageError,
)
from orchestrator.model.dataset import BlockVolume, FileTree, PostgresCluster
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import Name, SystemName
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.model.system import HttpCheck, System
from orchestrator.operations.migrate import new_run_id
from orchestrator.operations.replication import Record, find_system, seconds_since
from orchestrator.steps.places import services_in_start_order
from orchestrator.steps.still_data import StillDataMover

LIFETIME_SECONDS = 1800.0
POINTS_MAX = 1000
CHECK_SECONDS_MAX = 60.0
HEALTHY_SECONDS_MAX = 120.0
CHECK_AGAIN_SECONDS = 0.2
DNS_PORT, SMTP_PORT, METADATA = 53, 25, "169.254.169.254"


class CheckSeen(Frozen):
    name: str
    level: str
    passed: bool
    wrong: tuple[str, ...] = ()


class Verdict(Frozen):
    """An objective against what was measured, in seconds."""

    objective: str
    target_seconds: float
    actual_seconds: float
    met: bool


class BubbleDrill(Frozen):
    """What a drill in a bubble showed. The clock starts when the drill begins and stops when every check has passed."""

    id: str
    system: SystemName
    by: Name
    host: str
    point: str
    point_at: str
    begun_at: str
    operational_at: str = ""
    erased_at: str = ""
    clones: tuple[BubbleClone, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    isolated: bool = False
    started: tuple[StartedUnit, ...] = ()
    checks: tuple[CheckSeen, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    production_changed: tuple[str, ...] = ()
    left: Leftovers = Leftovers()
    why_not: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.why_not


def complain(drill: BubbleDrill) -> None:
    """RunFailed with every reason, where it did not pass."""
    if not drill.passed:
        raise RunFailed(f"{drill.system}: {'; '.join(drill.why_not)}", hint="Nothing of production was touched by us.")


def choose_point(drivers: Drivers, system: System, named: str, *, older_than_seconds: float = 0.0) -> RecoveryPoint:
    """`latest`; `worst`, the oldest that is still within the system's RPO; or a point by the beginning of its id.

    Only points held at DR count. `older_than_seconds` leaves out younger ones.
    """
    found = drivers.catalogue.list("recovery_point", prefix=f"{system.name}/", limit=POINTS_MAX)
    now = drivers.clock.now()
    points = [RecoveryPoint.model_validate(document) for _, document in found]
    at_dr = sorted((point for point in points if Side.DR in point.sides), key=lambda each: each.at, reverse=True)
    fitting = [point for point in at_dr if seconds_since(point.at, now) >= older_than_seconds]
    if named == "worst":
        fitting = [point for point in fitting if seconds_since(point.at, now) <= system.objectives.rpo][-1:]
    elif named != "latest":
        fitting = [point for point in fitting if point.id.startswith(named)]
        if len(fitting) > 1:
            raise UsageError(f"{system.name}: more than one recovery point begins with {named}")
    if not fitting:
        raise UsageError(
            f"{system.name}: no recovery point at DR is {named}"
            + (f" and at least {older_than_seconds:g} s old" if older_than_seconds else ""),
            hint=f"See them with: skerry snapshot list {system.name}",
        )
    return fitting[0]


@dataclass(frozen=True)
class BubbleDriller:
    """Drills systems of one estate in bubbles at DR."""

    inventory: Inventory
    drivers: Drivers
    bubbles: Bubbles
    record: Record
    check_program: Path
    progress: ProgressSink = lambda progress: None

    def drill(
        self, name: SystemName, *, by: Name, point: str = "latest", older_than_seconds: float = 0.0
    ) -> BubbleDrill:
        """Run it to its end. What came of it is on record, whatever it is; only refusals before any deed raise."""
        system = find_system(self.inventory, name)
        chosen = choose_point(self.drivers, system, point, older_than_seconds=older_than_seconds)
        host = self._host(system)
        data, clusters = self._held(system, host, chosen)
        drill = BubbleDrill(
            id=new_run_id(),
            system=name,
            by=by,
            host=host.name,
            point=chosen.id,
            point_at=chosen.at,
            begun_at=timestamp(self.drivers.clock.now()),
        )
        self.record(name, "drill.begun", drill.model_dump(mode="json"))
        before = self._production(system)
        drill = self._within(drill, system, host, chosen, data, clusters)
        changed = tuple(_differences(before, self._production(system)))
        why = list(drill.why_not)
        if changed:
            why.append(f"production changed meanwhile: {'; '.join(changed)}")
        if drill.left.any:
            why.append(f"the bubble left something behind: {drill.left.model_dump(mode='json')}")
        drill = drill.model_copy(update={"production_changed": changed, "why_not": tuple(why)})
        self.record(name, "drill.finished", {**drill.model_dump(mode="json"), "passed": drill.passed})
        return drill

    def _within(
        self,
        drill: BubbleDrill,
        system: System,
        host: Host,
        point: RecoveryPoint,
        data: Sequence[BubbleData],
        clusters: Sequence[BubbleCluster],
    ) -> BubbleDrill:
        """Open, prove, start, check; then close, whatever happened."""
        seen: dict[str, Any] = {}
        try:
            self._say(f"reading {point.id} on {host.name}")
            self._compare(system, host, point)
            units = [cluster.service for cluster in _clusters(system)] + [each.name for each in system.services]
            self._say(f"opening a bubble on {host.name}")
            seen["clones"] = tuple(
                self.bubbles.open(host, drill.id, data, units, seconds_max=LIFETIME_SECONDS)
            )
            isolation = self.bubbles.prove(host, drill.id, self._forbidden(system))
            seen |= {"attempts": isolation.attempts, "isolated": isolation.isolated}
            self.record(system.name, "bubble.proved", {"drill": drill.id, **isolation.model_dump(mode="json")})
            if not isolation.isolated:
                reached = [f"{each.attempt} {each.target}" for each in isolation.attempts if each.reached]
                raise GateClosed(f"the bubble is not isolated, so nothing was started in it: {', '.join(reached)}")
            self._say(f"starting {system.name} in the bubble")
            seen["started"] = tuple(self.bubbles.start(host, drill.id, _services(system, host), clusters))
            seen["checks"] = tuple(self._check(drill, system, host))
            now = self.drivers.clock.now()
            seen["operational_at"] = timestamp(now)
            seen["verdicts"] = _verdicts(system, drill, now)
            wrong = [f"{each.name}: {'; '.join(each.wrong)}" for each in seen["checks"] if not each.passed]
            wrong += [
                f"{each.objective} missed: {each.actual_seconds:.1f} s of {each.target_seconds:g} s"
                for each in seen["verdicts"]
                if not each.met
            ]
            seen["why_not"] = tuple(wrong)
        except OrchestratorError as error:
            seen["why_not"] = (error.message,)
        finally:
            self._say(f"closing the bubble on {host.name}")
            seen["left"] = self.bubbles.close(host, drill.id)
            seen["erased_at"] = timestamp(self.drivers.clock.now())
        return drill.model_copy(update=seen)

    def _host(self, system: System) -> Host:
        """The one host at DR that has all of it."""
        names = {system.host_of(Side.DR), *(system.host_of(Side.DR, each.name) for each in system.datasets)}
        if len(names) > 1:
            raise DataError(
                f"{system.name} lies on several hosts at DR ({', '.join(sorted(names))}), and a bubble is on one",
                hint="Nothing was opened.",
            )
        return self.inventory.hosts[names.pop()]

    def _held(
        self, system: System, host: Host, point: RecoveryPoint
    ) -> tuple[list[BubbleData], list[BubbleCluster]]:
        data: list[BubbleData] = []
        clusters: list[BubbleCluster] = []
        marks = {held.dataset: held.mark for held in point.datasets}
        for dataset in system.datasets:
            if isinstance(dataset, BlockVolume):
                raise DataError(f"{dataset.name}: volumes are not started in a bubble", hint="Nothing was opened.")
            if isinstance(dataset, FileTree):
                held = self.drivers.trees.points(dataset, host).find(point.id)
                if held is None:
                    raise DataError(f"{dataset.name}: {host.name} does not hold {point.id}")
                data.append(BubbleData(name=dataset.name, held=held.path, places=(("", host.path(dataset.path)),)))
                continue
            folder = self.drivers.database_digests.find_clone(dataset, host, point.id)
            if folder is None:
                raise DataError(
                    f"{dataset.name}: {host.name} keeps no clone of {point.id} that could be opened beside the standby",
                    hint=f"Let recovery points keep clones (points: clone at {dataset.name}), then take a new one.",
                )
            at = host.path(dataset.data_directory)
            data.append(BubbleData(name=dataset.name, held=folder, places=(("data", at), ("", folder))))
            clusters.append(
                BubbleCluster(name=dataset.name, data=at, lsn=marks[dataset.name], binaries=dataset.binaries)
            )
        return data, clusters

    def _compare(self, system: System, host: Host, point: RecoveryPoint) -> None:
        """What is about to be started is what was proved; a database's clone proves itself when it is taken."""
        proved = {held.dataset: held.digest for held in point.datasets}
        for dataset in system.datasets:
            if isinstance(dataset, FileTree):
                was = proved.get(dataset.name)
                digest = StillDataMover(self.drivers).digest(dataset, host, point=point.id).digest
                if digest != was:
                    raise DigestMismatch(f"{dataset.name}: {host.name} holds {digest} as {point.id}, which was {was}")

    def _forbidden(self, system: System) -> list[ForbiddenTarget]:
        """Every host of the estate, its services and its databases, names, mail, and the cloud's metadata."""
        served = [service.port for service in system.services]
        ports = sorted({*served, *(cluster.port for cluster in _clusters(system))})
        targets: list[ForbiddenTarget] = []
        for host in self.inventory.hosts.values():
            where = host.address
            targets += [ForbiddenTarget(name=host.name, address=where, port=port) for port in {host.port, *ports}]
            targets.append(ForbiddenTarget(name=f"mail at {host.name}", address=where, port=SMTP_PORT))
            targets.append(ForbiddenTarget(name=f"names at {host.name}", address=where, port=DNS_PORT, datagram=True))
        if front := self.drivers.front.current(system.front):
            name = system.front.name
            targets += [ForbiddenTarget(name=name, address=front.address, port=port) for port in served]
        targets.append(ForbiddenTarget(name="the cloud's metadata", address=METADATA, port=80))
        return targets

    def _check(self, drill: BubbleDrill, system: System, host: Host) -> list[CheckSeen]:
        """Ask until all pass; to recover takes its time, and that counts. What was seen last."""
        request = {"system": system.name, "checks": [_asked(check, host) for check in system.checks]}
        program = self.check_program.read_text()
        deadline = self.drivers.clock.monotonic_seconds() + HEALTHY_SECONDS_MAX
        while True:
            said = self.bubbles.run(host, drill.id, program, request, seconds_max=CHECK_SECONDS_MAX)
            seen = [
                CheckSeen(name=name, level=found["level"], passed=found["passed"], wrong=tuple(found["wrong"]))
                for name, found in json.loads(said)["report"]["checks"].items()
            ]
            if all(each.passed for each in seen) or self.drivers.clock.monotonic_seconds() > deadline:
                return seen
            self.drivers.clock.sleep(CHECK_AGAIN_SECONDS)

    def _production(self, system: System) -> dict[str, str]:
        """What production shows, wherever the system has hosts that are there, and where clients are sent."""
        shown: dict[str, str] = {}
        units = [cluster.service for cluster in _clusters(system)] + [each.name for each in system.services]
        for side in (Side.SOURCE, Side.DR):
            for name in sorted({system.host_of(side), *(system.host_of(side, each.name) for each in system.datasets)}):
                host = self.inventory.hosts[name]
                shown |= {f"{name}: {about}": text for about, text in self.bubbles.shown(host, units).items()}
        front = self.drivers.front.current(system.front)
        shown[f"front {system.front.name}"] = front.address if front else ""
        return shown

    def _say(self, text: str) -> None:
        self.progress(Progress(text=text))


def _clusters(system: System) -> list[PostgresCluster]:
    return [dataset for dataset in system.datasets if isinstance(dataset, PostgresCluster)]


def _services(system: System, host: Host) -> list[BubbleService]:
    """Databases, then services in their order."""
    found = [BubbleService(name=each.service, address=host.address, port=each.port) for each in _clusters(system)]
    ordered = services_in_start_order(system.services)
    return found + [BubbleService(name=each.name, address=host.address, port=each.port) for each in ordered]


def _asked(check: HttpCheck, host: Host) -> dict[str, Any]:
    return {
        "name": check.name,
        "url": f"http://{host.address}:{check.port}{check.path}",
        "expected_status": check.expected_status,
        "expected": check.expected,
        "level": check.level,
    }


def _verdicts(system: System, drill: BubbleDrill, now: datetime) -> tuple[Verdict, ...]:
    """RTA against RTO, RPA against RPO, RTA and the work recovery time against MTPD (NIST SP 800-34, ISO 22301)."""
    begun = datetime.fromisoformat(drill.begun_at)
    recovery = (now - begun).total_seconds()
    loss = max(0.0, (begun - datetime.fromisoformat(drill.point_at)).total_seconds())
    wanted = system.objectives
    rows = (
        ("RTO", wanted.rto, recovery),
        ("RPO", wanted.rpo, loss),
        ("MTPD", wanted.mtpd, recovery + wanted.wrt),
    )
    return tuple(
        Verdict(objective=name, target_seconds=target, actual_seconds=round(actual, 3), met=actual <= target)
        for name, target, actual in rows
    )


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for about in sorted({*before, *after}):
        if before.get(about) != after.get(about):
            yield f"{about} was {before.get(about)!r} and is {after.get(about)!r}"
