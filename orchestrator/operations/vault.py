"""Vault: a third copy of a recovery point, listed, verified by restoring, restored."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.databases import DatabaseDigests
from orchestrator.contracts.observer import Recorder
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.contracts.trees import PointStores
from orchestrator.contracts.vault import VaultBucket, VaultRepository
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.errors import (
    DataError,
    DigestMismatch,
    InventoryError,
    OrchestratorError,
    TargetForbidden,
    UsageError,
)
from orchestrator.model.dataset import FileTree, PostgresCluster
from orchestrator.model.event import RunEvent
from orchestrator.model.host import Host
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import DatasetName, Digest, Name, PointId, SystemName
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.model.system import System
from orchestrator.model.transfer import ContentDigest
from orchestrator.model.vault import VaultCopy, VaultedDataset, VaultSettings
from orchestrator.operations.desk import open_desk

Checks = dict[str, str]  # by check: passed, or why it is not shown
Vaultable = FileTree | PostgresCluster
KIND: Literal["vault_copy"] = "vault_copy"


def tell_nobody(_: Progress) -> None:
    """The progress sink of those who do not look."""


@dataclass(frozen=True)
class Vault:
    """The vault of one estate. Each deed is on record before it begins and when it has ended, well or not."""

    inventory: Inventory
    settings: VaultSettings
    repository: VaultRepository
    bucket: VaultBucket
    points: PointStores
    digest_of_tree: Callable[[Host, str, DatasetName], ContentDigest]  # of a folder, as its host makes it
    databases: DatabaseDigests
    catalogue: Catalogue
    clock: Clock
    recorder: Recorder
    by: Name
    progress: ProgressSink = field(default=tell_nobody)

    def copy(self, system_name: SystemName, point_id: PointId | None = None) -> VaultCopy:
        """Put a recovery point that DR holds into the vault, and prove that it cannot be taken out again.

        Raises before the first byte when the point is not held, a dataset cannot go there, the bucket does not lock by
        itself, or the host lacks restic. A copy that broke off is begun again; what arrived is not sent twice.
        """
        system = self._system(system_name)
        point = recovery_point(self.catalogue, system_name, point_id)
        copy_id = f"{point.id}-{secrets.token_hex(4)}"
        with self._on_record("copy", copy_id, system_name, {"point": point.id, "digest": point.digest}) as told:
            self._allowed(system)
            held = self._held(system, point)
            self.bucket.check(locked_days=self.settings.locked_days)
            versions = {host.name: self.repository.prepare(host) for _, host, _ in held}
            stored = [self._store(point, copy_id, tree, host, path) for tree, host, path in held]
            until = timestamp(self.clock.now() + timedelta(days=self.settings.locked_days))
            copy = VaultCopy(
                id=copy_id,
                system=system_name,
                point=point.id,
                point_digest=point.digest,
                at=timestamp(self.clock.now()),
                host=held[0][1].name,
                repository=self.repository.name,
                datasets=tuple(stored),
                locked_until=until,
                objects_locked=self.bucket.lock_all(locked_until=until),
                removal_refused=self.bucket.try_removal(copy_id),
            )
            self._keep(copy)
            told |= {**copy.model_dump(mode="json"), "programs": versions}
        return copy

    def verify(self, copy_id: str) -> VaultCopy:
        """Restore every dataset into a scratch folder and compare its digest with the recovery point's.

        Never by the repository's word: a copy that was not restored is not verified.
        """
        copy = find_copy(self.catalogue, copy_id)
        with self._on_record("verify", copy.id, copy.system, {"point": copy.point}) as told:
            checks = {}
            for item in copy.datasets:
                host = self._reader(copy, item)
                scratch = self._scratch(copy, item, host)
                try:
                    checks[item.dataset] = self._restored(copy, item, host, scratch)[1]
                finally:
                    self.repository.clear(host, scratch)
            verified = copy.model_copy(
                update={"verified_at": timestamp(self.clock.now()), "verified_on": self._reader(copy).name}
            )
            self._keep(verified)
            told |= {"digests": {item.dataset: item.digest for item in copy.datasets}, "checks": checks}
            told |= {"equal": True, "host": verified.verified_on}
        return verified

    def restore(self, copy_id: str, folder: str, *, only: DatasetName | None = None) -> dict[DatasetName, str]:
        """Put the datasets below `folder` of the host that reads the vault; the path of each there, digest compared.

        Live data is never written over: the folder must be missing or empty.
        """
        copy = find_copy(self.catalogue, copy_id)
        wanted = [item for item in copy.datasets if only in (None, item.dataset)]
        if not wanted:
            names = ", ".join(item.dataset for item in copy.datasets)
            raise UsageError(f"{copy.id} holds no dataset {only}", hint=f"It holds: {names}")
        with self._on_record("restore", copy.id, copy.system, {"point": copy.point, "folder": folder}) as told:
            paths = {}
            for item in wanted:
                host = self._reader(copy, item)
                paths[item.dataset] = self._restored(copy, item, host, host.path(f"{folder}/{item.dataset}"))[0]
            told |= {"paths": paths, "digests": {item.dataset: item.digest for item in wanted}}
        return paths

    def check(self) -> dict[str, str]:
        """Whether copies could be made now: the program of every host at DR, the lock of the bucket."""
        self.bucket.check(locked_days=self.settings.locked_days)
        names = {
            system.host_of(Side.DR, dataset.name)
            for system in self.inventory.systems.values()
            for dataset in system.datasets
            if isinstance(dataset, FileTree | PostgresCluster)
        }
        return {name: self.repository.prepare(self.inventory.hosts[name]) for name in sorted(names)}

    # -- parts

    def _allowed(self, system: System) -> None:
        """A vault is one more place where data goes, so residency rules it as they do the cloud."""
        rules = {rule.data_class: rule.regions for rule in self.inventory.residency}
        for data_class in system.data_classes:
            if self.settings.region not in rules.get(data_class, ()):
                regions = ", ".join(rules.get(data_class, ())) or "nowhere"
                raise TargetForbidden(
                    f"{system.name} holds {data_class}, which may be in {regions}, and the vault is in"
                    f" {self.settings.region}",
                    hint="Nothing was copied. Mend vault.region or policy.residency in the estate.",
                )

    def _scratch(self, copy: VaultCopy, item: VaultedDataset, host: Host) -> str:
        """Beside the data, where there is room for one of its size."""
        dataset = self._dataset(copy, item)
        path = dataset.path if isinstance(dataset, FileTree) else dataset.data_directory
        return host.path(str(PurePosixPath(path).parent / f".skerry-vault-{secrets.token_hex(4)}"))

    def _system(self, name: SystemName) -> System:
        if name not in self.inventory.systems:
            known = ", ".join(sorted(self.inventory.systems))
            raise UsageError(f"no system is called {name}", hint=f"There are: {known}")
        return self.inventory.systems[name]

    def _held(self, system: System, point: RecoveryPoint) -> list[tuple[Vaultable, Host, str]]:
        """Each dataset of the point with the host that holds it at DR, and where."""
        held: list[tuple[Vaultable, Host, str]] = []
        for item in point.datasets:
            dataset = next((each for each in system.datasets if each.name == item.dataset), None)
            if not isinstance(dataset, FileTree | PostgresCluster):
                raise DataError(f"{system.name}: {item.dataset} of {point.id} is neither a file tree nor a cluster")
            host = self.inventory.hosts[system.host_of(Side.DR, dataset.name)]
            held.append((dataset, host, self._place(dataset, host, point)))
        return held

    def _place(self, dataset: Vaultable, host: Host, point: RecoveryPoint) -> str:
        """The folder that holds the dataset as it was at the point."""
        hint = "Take a new recovery point, and copy that: skerry replicate"
        if isinstance(dataset, FileTree):
            found = self.points(dataset, host).find(point.id)
            path = found.path if found else None
        else:
            path = self.databases.find_clone(dataset, host, point.id)
            if dataset.points == "moment":
                hint = f"Write `points: clone` at the dataset {dataset.name}, then: skerry replicate"
        if path is None:
            raise DataError(f"{host.name} does not hold the files of {dataset.name} as of {point.id}", hint=hint)
        return path

    def _store(self, point: RecoveryPoint, copy_id: str, dataset: Vaultable, host: Host, path: str) -> VaultedDataset:
        wanted = next(item for item in point.datasets if item.dataset == dataset.name)
        tags = (f"skerry={copy_id}", f"point={point.id}", f"dataset={dataset.name}", f"system={point.system}")
        with self._kept(dataset, host, point.id, copy_id):
            self._prove(dataset, host, path, mark=wanted.mark, digest=wanted.digest, what=f"{point.id} at {host.name}")
            stored = self.repository.store(host, path, tags=tags, progress=self.progress)
        return VaultedDataset(
            dataset=dataset.name,
            kind=dataset.kind,
            snapshot=stored.snapshot,
            path=stored.path,
            digest=wanted.digest,
            mark=wanted.mark,
            bytes_total=stored.bytes_total,
        )

    @contextmanager
    def _kept(self, dataset: Vaultable, host: Host, point: PointId, by: str) -> Iterator[None]:
        """While it is read nobody prunes it. Of a cluster the newest clone is kept in any case."""
        if not isinstance(dataset, FileTree):
            yield
            return
        points = self.points(dataset, host)
        points.hold(point, by)
        try:
            yield
        finally:
            points.release(point, by)

    def _prove(self, dataset: Vaultable, host: Host, path: str, *, mark: str, digest: Digest, what: str) -> Checks:
        """That the folder holds what the recovery point holds: by reading it whole, or by running the cluster."""
        if isinstance(dataset, PostgresCluster):
            return self.databases.prove_clone(dataset, host, path, lsn=mark, digest=digest).checks
        found = self.digest_of_tree(host, path, dataset.name).digest
        if found != digest:
            raise DigestMismatch(
                f"{dataset.name} of {what}: {digest} was held, it is {found}",
                hint="Do not count on this copy. Take a new recovery point, and copy that.",
            )
        return {"tree/v1": "passed: read whole"}

    def _restored(self, copy: VaultCopy, item: VaultedDataset, host: Host, folder: str) -> tuple[str, Checks]:
        dataset = self._dataset(copy, item)
        path = self.repository.restore(
            host, item.snapshot, item.path, folder, bytes_total=item.bytes_total, progress=self.progress
        )
        what = f"{copy.id}, restored at {host.name}"
        return path, self._prove(dataset, host, path, mark=item.mark, digest=item.digest, what=what)

    def _dataset(self, copy: VaultCopy, item: VaultedDataset) -> Vaultable:
        system = self._system(copy.system)
        found = next((each for each in system.datasets if each.name == item.dataset), None)
        if not isinstance(found, FileTree | PostgresCluster) or found.kind != item.kind:
            raise UsageError(
                f"{copy.system} has no dataset {item.dataset} of kind {item.kind} any more",
                hint=f"restic restores {item.snapshot} without skerry: docs/vault.md",
            )
        return found

    def _reader(self, copy: VaultCopy, item: VaultedDataset | None = None) -> Host:
        """Who reads the vault now: the host that holds the dataset at DR, or the one that wrote the copy."""
        system = self.inventory.systems.get(copy.system)
        name = system.host_of(Side.DR, item.dataset if item else None) if system else copy.host
        return self.inventory.hosts[name]

    def _keep(self, copy: VaultCopy) -> None:
        self.catalogue.put(KIND, f"{copy.system}/{copy.point}/{copy.id}", copy.model_dump(mode="json"))

    @contextmanager
    def _on_record(self, deed: str, copy_id: str, system: SystemName, wish: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The wish is in the ledger before the deed, and then its end; the caller fills in what came of it."""
        self._record(f"vault.{deed}_started", copy_id, system, {**wish, "by": self.by, "vault": self.repository.name})
        told: dict[str, Any] = {}
        try:
            yield told
        except OrchestratorError as error:
            failed = {"error": type(error).__name__, "message": error.message}
            self._record(f"vault.{deed}_failed", copy_id, system, failed)
            raise
        self._record(f"vault.{deed}_finished", copy_id, system, told)

    def _record(self, kind: str, copy_id: str, system: SystemName, data: dict[str, Any]) -> None:
        at = timestamp(self.clock.now())
        self.recorder.record(RunEvent(type=kind, run=f"vault-{copy_id}", system=system, at=at, data=data))


def recovery_point(catalogue: Catalogue, system: SystemName, point: PointId | None) -> RecoveryPoint:
    """The named recovery point of a system, or its newest."""
    found = catalogue.list("recovery_point", prefix=f"{system}/")
    points = [RecoveryPoint.model_validate(document) for _, document in found]
    chosen = next((each for each in points if point in (None, each.id)), None)
    if chosen is None:
        what = f"no recovery point {point}" if point else "no recovery point"
        raise UsageError(f"{system} has {what}", hint="Take one: skerry replicate")
    return chosen


def copies(catalogue: Catalogue, system: SystemName | None = None) -> list[VaultCopy]:
    """What is in the vault, newest first."""
    kept = catalogue.list(KIND, prefix=f"{system}/" if system else "")
    found = [VaultCopy.model_validate(document) for _, document in kept]
    return sorted(found, key=lambda copy: copy.at, reverse=True)


def find_copy(catalogue: Catalogue, named: str) -> VaultCopy:
    """The copy whose id is, or begins with, `named`; of a system's or point's name, its newest copy."""
    every = copies(catalogue)
    exact = [copy for copy in every if named in (copy.id, copy.point, copy.system)]
    found = exact or [copy for copy in every if copy.id.startswith(named)]
    if not found:
        raise UsageError(f"the vault has no copy {named}", hint="See: skerry vault list")
    if not exact and len(found) > 1:
        raise UsageError(f"more than one copy begins with {named}", hint="Give more of the id: skerry vault list")
    return found[0]


def places_of(point: RecoveryPoint, in_vault: list[VaultCopy]) -> list[str]:
    """Where a recovery point exists: its sides, and its copies in the vault."""
    sides = [side.value for side in point.sides]
    return sides + [copy.place for copy in in_vault if copy.point == point.id and copy.system == point.system]


@contextmanager
def open_vault(folder: Path, *, by: Name, progress: ProgressSink = tell_nobody) -> Iterator[Vault]:
    """The vault of the estate in `folder`; the ledger is open while inside. InventoryError where it has none."""
    with open_desk(folder) as desk:
        settings = desk.inventory.vault
        if settings is None:
            raise InventoryError(
                f"{folder}: the estate has no vault", hint="Say where it is: policy.vault in policy.yml"
            )
        repository, bucket = desk.open_vault(settings)
        with desk.recorder() as recorder:
            yield Vault(
                inventory=desk.inventory,
                settings=settings,
                repository=repository,
                bucket=bucket,
                points=desk.points,
                digest_of_tree=desk.digest_of_tree,
                databases=desk.drivers.database_digests,
                catalogue=desk.catalogue,
                clock=desk.clock,
                recorder=recorder,
                by=by,
                progress=progress,
            )


def vault_list(folder: Path, system: SystemName | None) -> list[VaultCopy]:
    """What is in the vault, from the catalogue alone: no host and no bucket is asked."""
    with open_desk(folder) as desk:
        return copies(desk.catalogue, system)
