"""A drill in a bubble: a held recovery point of a system, started at DR where production is not reached, and checked.

Production is looked at before and after. The bubble is proved isolated before anything is started in it, and taken away
at the end, whatever came of it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.contracts.bubbles import (
    Attempt,
    BubbleClone,
    BubbleCluster,
    BubbleData,
    BubbleService,
    ForbiddenTarget,
    Leftovers,
    StartedUnit,
)
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.programs import PYTHON_WORDS
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.contracts.transport import Transport
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import (
    DataError,
    DigestMismatch,
    GateClosed,
    HostError,
    OrchestratorError,
    RunFailed,
)
from orchestrator.foundation.places import shipped_folder
from orchestrator.model.dataset import BlockVolume, FileTree, PostgresCluster
from orchestrator.model.drill import InjectName
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.names import HostName, Name, SystemName
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.model.system import System
from orchestrator.steps.drill_checks import ask_credential, look_within, verify_files
from orchestrator.steps.drill_measures import Verdict, choose_point, held_before, points_at_dr, verdicts_of
from orchestrator.steps.injects import Inject, Record
from orchestrator.steps.places import services_in_start_order

LIFETIME_SECONDS = 1800.0
CHECK_SECONDS_MAX = 60.0
HEALTHY_SECONDS_MAX = 120.0
CHECK_AGAIN_SECONDS = 0.2
DNS_PORT, SMTP_PORT, METADATA = 53, 25, "169.254.169.254"


class CheckSeen(Frozen):
    name: str
    level: str
    passed: bool
    wrong: tuple[str, ...] = ()


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
    inject: InjectName | None = None
    found: str = ""  # what named the inject
    why_not: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.why_not


def complain(drill: BubbleDrill) -> None:
    """RunFailed with every reason, where it did not pass."""
    if not drill.passed:
        raise RunFailed(f"{drill.system}: {'; '.join(drill.why_not)}", hint="Nothing of production was touched by us.")


@dataclass(frozen=True)
class BubbleDriller:
    """Drills systems, with the hosts of their estate, in bubbles at DR."""

    systems: Mapping[SystemName, System]
    hosts: Mapping[HostName, Host]
    drivers: Drivers
    record: Record
    healthy_seconds_max: float = HEALTHY_SECONDS_MAX
    progress: ProgressSink = lambda progress: None

    def drill(
        self,
        name: SystemName,
        *,
        bubble: str,
        by: Name,
        point: str = "latest",
        older_than_seconds: float = 0.0,
        inject: InjectName | None = None,
    ) -> BubbleDrill:
        """Run it to its end. What came of it is on record, whatever it is; only refusals before any deed raise.

        With an `inject` something is wrong within the bubble, and the drill passes when that is found and named.
        """
        system = self.systems[name]
        wrong = Inject(inject, system)
        chosen = choose_point(self.drivers, system, point, older_than_seconds=older_than_seconds)
        host = self._host(system)
        data, clusters = self._held(system, host, chosen, older=wrong.wants_older)
        drill = BubbleDrill(
            id=bubble,
            system=system.name,
            by=by,
            host=host.name,
            point=chosen.id,
            point_at=chosen.at,
            begun_at=timestamp(self.drivers.clock.now()),
        )
        self.record(system.name, "drill.begun", drill.model_dump(mode="json"))
        before, _ = self._production(system, wrong)
        drill = self._within(drill, system, host, data, clusters, wrong)
        after, unseen = self._production(system, wrong)
        changed = tuple(_differences(before, after))
        recovered = bool(drill.operational_at)
        found, reasons = wrong.judge(drill.why_not, unseen, isolated=drill.isolated, recovered=recovered)
        why = list(reasons)
        if changed:
            why.append(f"production changed meanwhile: {'; '.join(changed)}")
        if drill.left.any:
            why.append(f"the bubble left something behind: {drill.left.model_dump(mode='json')}")
        drill = drill.model_copy(
            update={"production_changed": changed, "inject": wrong.name, "found": found, "why_not": tuple(why)}
        )
        wrong.keep(self.drivers.catalogue, self.record, drill.id, at=drill.begun_at, found=found)
        self.record(system.name, "drill.finished", {**drill.model_dump(mode="json"), "passed": drill.passed})
        return drill

    def _within(
        self,
        drill: BubbleDrill,
        system: System,
        host: Host,
        data: Sequence[BubbleData],
        clusters: Sequence[BubbleCluster],
        inject: Inject,
    ) -> BubbleDrill:
        """Open, prove, start, check; then close, whatever happened."""
        seen: dict[str, Any] = {}
        try:
            units = [cluster.service for cluster in _clusters(system)] + [each.name for each in system.services]
            self._say(f"opening a bubble on {host.name}")
            given = inject.given(data)
            seen["clones"] = tuple(
                self.drivers.bubbles.open(host, drill.id, given, units, seconds_max=LIFETIME_SECONDS)
            )
            isolation = self.drivers.bubbles.prove(host, drill.id, self._forbidden(system))
            seen |= {"attempts": isolation.attempts, "isolated": isolation.isolated}
            self.record(system.name, "bubble.proved", {"drill": drill.id, **isolation.model_dump(mode="json")})
            if not isolation.isolated:
                reached = [f"{each.attempt} {each.target}" for each in isolation.attempts if each.reached]
                raise GateClosed(f"the bubble is not isolated, so nothing was started in it: {', '.join(reached)}")
            inside = self.drivers.bubbles.transport(host, drill.id)
            inject.act(host, inside)
            look_within(inside, system, host, inject.clock(self.drivers.clock))
            seen["started"] = tuple(self._start(drill, system, host, clusters, inside, inject))
            seen["checks"] = tuple(self._check(inside, system, host))
            now = self.drivers.clock.now()
            seen["operational_at"] = timestamp(now)
            seen["verdicts"] = verdicts_of(system, begun_at=drill.begun_at, point_at=drill.point_at, now=now)
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
            seen["left"] = self.drivers.bubbles.close(host, drill.id)
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
        return self.hosts[names.pop()]

    def _held(
        self, system: System, host: Host, point: RecoveryPoint, *, older: Name | None
    ) -> tuple[list[BubbleData], list[BubbleCluster]]:
        """What the host holds of `point`; of the tree `older`, what it holds of an earlier one that was another."""
        data: list[BubbleData] = []
        clusters: list[BubbleCluster] = []
        marks = {held.dataset: held.mark for held in point.datasets}
        for dataset in system.datasets:
            if isinstance(dataset, BlockVolume):
                raise DataError(f"{dataset.name}: volumes are not started in a bubble", hint="Nothing was opened.")
            if isinstance(dataset, FileTree):
                store = self.drivers.trees.points(dataset, host)
                held = store.find(point.id)
                if dataset.name == older:
                    held = held_before(self.drivers, store, system, point, dataset.name)
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

    def _start(
        self,
        drill: BubbleDrill,
        system: System,
        host: Host,
        clusters: Sequence[BubbleCluster],
        inside: Transport,
        inject: Inject,
    ) -> Iterator[StartedUnit]:
        """Each dataset is compared with what was proved when the point was taken, as soon as it can be read within."""
        for dataset in system.datasets:
            if isinstance(dataset, FileTree):
                self._compare(dataset, drill, host, inside)
            if isinstance(dataset, PostgresCluster):
                verify_files(dataset, host, inside)
        left_out = inject.not_started(system)
        self._say(f"starting {system.name} in the bubble")
        databases = [each for each in _databases(system, host) if each.name not in left_out]
        yield from self.drivers.bubbles.start(host, drill.id, databases, clusters)
        for cluster in _clusters(system):
            self._compare(cluster, drill, host, inside)
            inject.act_on_cluster(cluster, inside, self.drivers.clusters_within)
            ask_credential(self.drivers.clusters_within, cluster, inside)
        services = [each for each in _services(system, host) if each.name not in left_out]
        yield from self.drivers.bubbles.start(host, drill.id, services, [])

    def _compare(self, dataset: FileTree | PostgresCluster, drill: BubbleDrill, host: Host, inside: Transport) -> None:
        points = points_at_dr(self.drivers.catalogue, drill.system)
        proved = next(each for each in points if each.id == drill.point).digests
        deadline = self.drivers.clock.monotonic_seconds() + self.healthy_seconds_max
        while True:
            try:
                found = self.drivers.digest_within(dataset, host, inside)
                break
            except OrchestratorError as error:  # a database that recovers refuses to be read until it has
                if isinstance(dataset, FileTree):
                    raise
                if self.drivers.clock.monotonic_seconds() > deadline:
                    words = ["grep", "-E", "FATAL|PANIC|ERROR", f"/run/{dataset.service}.log"]
                    said = inside.run(words, check=False).text.splitlines()[-3:]
                    raise DataError(f"{error.message}; {dataset.service} said: {' / '.join(said)}") from error
                self.drivers.clock.sleep(CHECK_AGAIN_SECONDS)
        older = [each for each in points if each.at < drill.point_at and each.digests.get(dataset.name) == found]
        if found != proved[dataset.name] and older:
            raise DigestMismatch(
                f"{dataset.name}: {host.name} is behind: what it holds as {drill.point} of {drill.point_at} "
                f"is what {older[0].id} held at {older[0].at}"
            )
        if found != proved[dataset.name]:
            raise DigestMismatch(
                f"{dataset.name}: what {host.name} holds as {drill.point} is {found} once it is opened; "
                f"it was proved to be {proved[dataset.name]}"
            )

    def _forbidden(self, system: System) -> list[ForbiddenTarget]:
        """Every host of the estate, its services and its databases, names, mail, and the cloud's metadata."""
        served = [service.port for service in system.services]
        ports = sorted({*served, *(cluster.port for cluster in _clusters(system))})
        targets: list[ForbiddenTarget] = []
        for host in self.hosts.values():
            where = host.address
            targets += [ForbiddenTarget(name=host.name, address=where, port=port) for port in {host.port, *ports}]
            targets.append(ForbiddenTarget(name=f"mail at {host.name}", address=where, port=SMTP_PORT))
            targets.append(ForbiddenTarget(name=f"names at {host.name}", address=where, port=DNS_PORT, datagram=True))
        if front := self.drivers.front.current(system.front):
            name = system.front.name
            targets += [ForbiddenTarget(name=name, address=front.address, port=port) for port in served]
        targets.append(ForbiddenTarget(name="the cloud's metadata", address=METADATA, port=80))
        return targets

    def _check(self, inside: Transport, system: System, host: Host) -> list[CheckSeen]:
        """Ask until all pass; to recover takes its time, and that counts. What was seen last."""
        request = json.dumps(
            {"system": system.name, "checks": [check.asked_at(host.address, host.site) for check in system.checks]}
        )
        words = [*PYTHON_WORDS, request]
        program = (shipped_folder("playbooks") / "files" / "checks.py").read_bytes()
        deadline = self.drivers.clock.monotonic_seconds() + self.healthy_seconds_max
        while True:
            said = inside.run(words, stdin=program, timeout_seconds=CHECK_SECONDS_MAX, check=False)
            if not said.stdout:
                raise DataError(f"{host.name}: no check could be asked: {said.stderr.decode(errors='replace').strip()}")
            seen = [
                CheckSeen(name=name, level=found["level"], passed=found["passed"], wrong=tuple(found["wrong"]))
                for name, found in json.loads(said.stdout)["report"]["checks"].items()
            ]
            if all(each.passed for each in seen) or self.drivers.clock.monotonic_seconds() > deadline:
                return seen
            self.drivers.clock.sleep(CHECK_AGAIN_SECONDS)

    def _production(self, system: System, inject: Inject) -> tuple[dict[str, str], list[str]]:
        """What production shows, wherever the system has hosts that are there, and where clients are sent.

        And which hosts of the source could not be looked at: a drill needs none of them, but says so.
        """
        shown: dict[str, str] = {}
        unseen: list[str] = []
        units = [cluster.service for cluster in _clusters(system)] + [each.name for each in system.services]
        for side in (Side.SOURCE, Side.DR):
            for name in sorted({system.host_of(side), *(system.host_of(side, each.name) for each in system.datasets)}):
                host = inject.primary(self.hosts[name]) if side is Side.SOURCE else self.hosts[name]
                try:
                    found = self.drivers.bubbles.shown(host, units)
                except HostError as error:
                    if side is Side.DR:
                        raise
                    unseen.append(f"{name} could not be looked at: {error.message}")
                    continue
                shown |= {f"{name}: {about}": text for about, text in found.items()}
        front = self.drivers.front.current(system.front)
        shown[f"front {system.front.name}"] = front.address if front else ""
        return shown, unseen

    def _say(self, text: str) -> None:
        self.progress(Progress(text=text))


def _clusters(system: System) -> list[PostgresCluster]:
    return [dataset for dataset in system.datasets if isinstance(dataset, PostgresCluster)]


def _databases(system: System, host: Host) -> list[BubbleService]:
    return [BubbleService(name=each.service, address=host.address, port=each.port) for each in _clusters(system)]


def _services(system: System, host: Host) -> list[BubbleService]:
    ordered = services_in_start_order(system.services)
    return [BubbleService(name=each.name, address=host.address, port=each.port) for each in ordered]


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for about in sorted({*before, *after}):
        if before.get(about) != after.get(about):
            yield f"{about} was {before.get(about)!r} and is {after.get(about)!r}"
