"""One system within a bubble: what is held of it, compared with what was proved, started, and asked its checks."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.contracts.bubble_machines import ADDRESS
from orchestrator.contracts.bubbles import BubbleCluster, BubbleData, BubbleService, StartedUnit
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.programs import PYTHON_WORDS
from orchestrator.contracts.transport import Transport
from orchestrator.foundation.errors import DataError, DigestMismatch, OrchestratorError
from orchestrator.foundation.places import shipped_folder
from orchestrator.model.dataset import BlockVolume, FileTree, PostgresCluster
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.names import DatasetName, Digest, Name
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.system import System
from orchestrator.steps.bubble_machine import MachinesWithin
from orchestrator.steps.drill_checks import ask_credential, verify_files
from orchestrator.steps.drill_measures import Spent, held_before, points_at_dr
from orchestrator.steps.injects import Inject
from orchestrator.steps.places import services_in_start_order

CHECK_SECONDS_MAX = 60.0
CHECK_AGAIN_SECONDS = 0.2


class CheckSeen(Frozen):
    name: str
    level: str
    passed: bool
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class SystemWithin:
    """`system` as `holder` holds it at `point`, in the bubble `bubble` of `host`; with what `inject` breaks of it."""

    drivers: Drivers
    system: System
    point: RecoveryPoint
    holder: Host
    host: Host
    bubble: str
    inject: Inject
    healthy_seconds_max: float
    spent: Spent

    @property
    def units(self) -> list[Name]:
        return units_of(self.system)

    @property
    def machines(self) -> MachinesWithin:
        return MachinesWithin(self.drivers, self.system, self.point, self.host, self.bubble)

    def proved(self) -> dict[DatasetName, Digest]:
        """What each dataset was proved to be when the point was taken."""
        points = points_at_dr(self.drivers.catalogue, self.system.name)
        return next(each for each in points if each.id == self.point.id).digests

    def held(self) -> tuple[list[BubbleData], list[BubbleCluster]]:
        """What is held of the point, where it lies; of a tree that is to be behind, what is of an earlier one."""
        system, holder, host, point, older = self.system, self.holder, self.host, self.point, self.inject.wants_older
        data: list[BubbleData] = []
        clusters: list[BubbleCluster] = []
        marks = {held.dataset: held.mark for held in point.datasets}
        for dataset in system.datasets:
            if isinstance(dataset, BlockVolume):
                data.append(self.machines.held(dataset))
                continue
            if isinstance(dataset, FileTree):
                store = self.drivers.trees.points(dataset, holder)
                held = store.find(point.id)
                if dataset.name == older:
                    held = held_before(self.drivers, store, system, point, dataset.name)
                if held is None:
                    raise DataError(f"{dataset.name}: {holder.name} does not hold {point.id}")
                data.append(BubbleData(name=dataset.name, held=held.path, places=(("", host.path(dataset.path)),)))
                continue
            folder = self.drivers.database_digests.find_clone(dataset, holder, point.id)
            if folder is None:
                raise DataError(
                    f"{dataset.name}: {holder.name} keeps no clone of {point.id} to be opened beside the standby",
                    hint=f"Let recovery points keep clones (points: clone at {dataset.name}), then take a new one.",
                )
            at = host.path(dataset.data_directory)
            data.append(BubbleData(name=dataset.name, held=folder, places=(("data", at), ("", folder))))
            clusters.append(
                BubbleCluster(name=dataset.name, data=at, lsn=marks[dataset.name], binaries=dataset.binaries)
            )
        return data, clusters

    def start(self, inside: Transport, clusters: Sequence[BubbleCluster]) -> Iterator[StartedUnit]:
        """Each dataset is compared with what was proved when the point was taken, as soon as it can be read within."""
        with self.spent.on("data"):
            for dataset in self.system.datasets:
                if isinstance(dataset, FileTree):
                    self._compare(dataset, inside)
                if isinstance(dataset, PostgresCluster):
                    verify_files(dataset, self.host, inside)
        left_out = self.inject.not_started(self.system)
        databases = [each for each in _databases(self.system, self.host) if each.name not in left_out]
        with self.spent.on("start"):
            yield from self.drivers.bubbles.start(self.host, self.bubble, databases, clusters)
        with self.spent.on("data"):
            for cluster in clusters_of(self.system):
                self._compare(cluster, inside)
                self.inject.act_on_cluster(cluster, inside, self.drivers.clusters_within)
                ask_credential(self.drivers.clusters_within, cluster, inside)
        services = [each for each in _services(self.system, self.host) if each.name not in left_out]
        with self.spent.on("start"):
            yield from self.drivers.bubbles.start(self.host, self.bubble, services, [])

    def _compare(self, dataset: FileTree | PostgresCluster, inside: Transport) -> None:
        proved = self.proved()[dataset.name]
        deadline = self.drivers.clock.monotonic_seconds() + self.healthy_seconds_max
        while True:
            try:
                found = self.drivers.digest_within(dataset, self.host, inside)
                break
            except OrchestratorError as error:  # a database that recovers refuses to be read until it has
                if isinstance(dataset, FileTree):
                    raise
                self.drivers.bubbles.transport(self.host, self.bubble)  # DataError where it was killed
                runs = self.drivers.clusters_within.runs(dataset, inside)
                if not runs or self.drivers.clock.monotonic_seconds() > deadline:
                    words = ["grep", "-hsE", "FATAL|PANIC|ERROR", f"/run/{dataset.service}.log"]
                    said = " / ".join(inside.run(words, check=False).text.splitlines()[-3:]) or "nothing"
                    why = error.message if runs else f"{dataset.name}: no server runs on its data"
                    raise DataError(f"{why}; {dataset.service} said: {said}") from error
                self.drivers.clock.sleep(CHECK_AGAIN_SECONDS)
        points = points_at_dr(self.drivers.catalogue, self.system.name)
        older = [each for each in points if each.at < self.point.at and each.digests.get(dataset.name) == found]
        if found != proved and older:
            raise DigestMismatch(
                f"{dataset.name}: {self.host.name} is behind: what it holds as {self.point.id} of {self.point.at} "
                f"is what {older[0].id} held at {older[0].at}"
            )
        if found != proved:
            raise DigestMismatch(
                f"{dataset.name}: what {self.host.name} holds as {self.point.id} is {found} once it is opened; "
                f"it was proved to be {proved}"
            )

    def check(self, inside: Transport) -> list[CheckSeen]:
        """Ask until all pass; to recover takes its time, and that counts. What was seen last."""
        ports = self.machines.ports
        asked = [
            check.asked_at(ADDRESS if check.port in ports else self.host.address, self.host.site)
            for check in self.system.checks
        ]
        request = json.dumps({"system": self.system.name, "checks": asked})
        words = [*PYTHON_WORDS, request]
        program = (shipped_folder("playbooks") / "files" / "checks.py").read_bytes()
        deadline = self.drivers.clock.monotonic_seconds() + self.healthy_seconds_max
        while True:
            said = inside.run(words, stdin=program, timeout_seconds=CHECK_SECONDS_MAX, check=False)
            if not said.stdout:
                why = said.stderr.decode(errors="replace").strip()
                raise DataError(f"{self.host.name}: no check could be asked: {why}")
            seen = checks_seen(json.loads(said.stdout)["report"])
            if all(each.passed for each in seen) or self.drivers.clock.monotonic_seconds() > deadline:
                return seen
            self.drivers.clock.sleep(CHECK_AGAIN_SECONDS)


def checks_seen(report: Mapping[str, Any]) -> list[CheckSeen]:
    """As the program that asks them reports."""
    return [
        CheckSeen(name=name, level=found["level"], passed=found["passed"], wrong=tuple(found["wrong"]))
        for name, found in report["checks"].items()
    ]


def clusters_of(system: System) -> list[PostgresCluster]:
    return [dataset for dataset in system.datasets if isinstance(dataset, PostgresCluster)]


def units_of(system: System) -> list[Name]:
    return [cluster.service for cluster in clusters_of(system)] + [each.name for each in system.services]


def _databases(system: System, host: Host) -> list[BubbleService]:
    return [BubbleService(name=each.service, address=host.address, port=each.port) for each in clusters_of(system)]


def _services(system: System, host: Host) -> list[BubbleService]:
    ordered = services_in_start_order(system.services)
    return [BubbleService(name=each.name, address=host.address, port=each.port) for each in ordered]
