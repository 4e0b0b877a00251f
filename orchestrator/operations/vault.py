"""Vault: a third copy of a recovery point, listed, verified by restoring, restored."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from orchestrator.contracts.catalogue import Catalogue
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
from orchestrator.model.dataset import FileTree
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
            digests = {}
            for item in copy.datasets:
                host = self._reader(copy, item)
                scratch = self._scratch(copy, item, host)
                try:
                    digests[item.dataset] = self._restored(item, host, scratch)[1]
                finally:
                    self.repository.clear(host, scratch)
            verified = copy.model_copy(
                update={"verified_at": timestamp(self.clock.now()), "verified_on": self._reader(copy).name}
            )
            self._keep(verified)
            told |= {"digests": digests, "equal": True, "host": verified.verified_on}
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
                paths[item.dataset] = self._restored(item, host, host.path(f"{folder}/{item.dataset}"))[0]
            told |= {"paths": paths, "digests": {item.dataset: item.digest for item in wanted}}
        return paths

    def check(self) -> dict[str, str]:
        """Whether copies could be made now: the program of every host at DR, the lock of the bucket."""
        self.bucket.check(locked_days=self.settings.locked_days)
        names = {
            system.host_of(Side.DR, dataset.name)
            for system in self.inventory.systems.values()
            for dataset in system.datasets
            if isinstance(dataset, FileTree)
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
        """Beside the tree, where there is room for one of its size."""
        system = self.inventory.systems.get(copy.system)
        datasets = system.datasets if system else ()
        paths = [each.path for each in datasets if each.name == item.dataset and isinstance(each, FileTree)]
        parent = PurePosixPath(paths[0] if paths else item.path).parent
        return host.path(str(parent / f".skerry-vault-{secrets.token_hex(4)}"))

    def _system(self, name: SystemName) -> System:
        if name not in self.inventory.systems:
            known = ", ".join(sorted(self.inventory.systems))
            raise UsageError(f"no system is called {name}", hint=f"There are: {known}")
        return self.inventory.systems[name]

    def _held(self, system: System, point: RecoveryPoint) -> list[tuple[FileTree, Host, str]]:
        """Each dataset of the point with the host that holds it at DR, and where."""
        held = []
        for item in point.datasets:
            dataset = next((each for each in system.datasets if each.name == item.dataset), None)
            if not isinstance(dataset, FileTree):
                raise DataError(
                    f"{system.name}: {item.dataset} of {point.id} is held at DR as a position in a log, not as files",
                    hint="The vault takes file trees. Keep a dump of the database within one of them.",
                )
            host = self.inventory.hosts[system.host_of(Side.DR, dataset.name)]
            found = self.points(dataset, host).find(point.id)
            if found is None:
                raise DataError(
                    f"{host.name} does not hold {point.id} of {dataset.name} any more",
                    hint="Take a new recovery point, and copy that: skerry replicate",
                )
            held.append((dataset, host, found.path))
        return held

    def _store(self, point: RecoveryPoint, copy_id: str, tree: FileTree, host: Host, path: str) -> VaultedDataset:
        wanted = next(item for item in point.datasets if item.dataset == tree.name)
        # While it is read nobody prunes it.
        points = self.points(tree, host)
        points.hold(point.id, copy_id)
        try:
            found = self.digest_of_tree(host, path, tree.name)
            if found.digest != wanted.digest:
                raise DigestMismatch(
                    f"{tree.name} of {point.id} at {host.name}: held {wanted.digest}, is {found.digest}"
                )
            tags = (f"skerry={copy_id}", f"point={point.id}", f"dataset={tree.name}", f"system={point.system}")
            stored = self.repository.store(host, path, tags=tags, progress=self.progress)
        finally:
            points.release(point.id, copy_id)
        return VaultedDataset(
            dataset=tree.name,
            kind="file_tree",
            snapshot=stored.snapshot,
            path=stored.path,
            digest=wanted.digest,
            mark=wanted.mark,
            bytes_total=stored.bytes_total,
        )

    def _restored(self, item: VaultedDataset, host: Host, folder: str) -> tuple[str, Digest]:
        path = self.repository.restore(
            host, item.snapshot, item.path, folder, bytes_total=item.bytes_total, progress=self.progress
        )
        found = self.digest_of_tree(host, path, item.dataset)
        if found.digest != item.digest:
            raise DigestMismatch(
                f"{item.dataset} restored from the vault at {host.name}: put in {item.digest}, came out {found.digest}",
                hint="Do not count on this copy. Copy the recovery point anew, and verify that.",
            )
        return path, found.digest

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
