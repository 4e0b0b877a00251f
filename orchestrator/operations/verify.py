"""Verify: whether every side still holds what its recovery point was proved to be. Could not compare is failed.

What is compared: the held point of each tree and volume at source and DR with the digest that was proved when it was
taken, and the live replica at DR with it; at the cloud the live one. Databases move on, so a new moment is compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.progress import ProgressSink, out_of
from orchestrator.contracts.trees import Reading
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import (
    DataError,
    DigestMismatch,
    EngineError,
    EvidenceError,
    Interrupted,
    OrchestratorError,
    UsageError,
)
from orchestrator.model.damage import Damage
from orchestrator.model.dataset import FileTree, PostgresCluster
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import SystemName
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.model.system import System
from orchestrator.model.transfer import ContentDigest
from orchestrator.operations.migrate import new_run_id
from orchestrator.operations.replication import Record, find_system, seconds_since
from orchestrator.steps.damages import note_damage, note_sound
from orchestrator.steps.points import newest_point
from orchestrator.steps.still_data import StillData, StillDataMover

REPLAY_SECONDS_MAX = 120.0
MOMENT_SECONDS_MAX = 10.0
SIDES_DEFAULT = (Side.SOURCE, Side.DR)
NOT_AS_PROVED = "the held point is not what was proved when it was taken"
MOVED_ON = "it equals the source as it is now, which has moved on since the point"


class Comparison(Frozen):
    """One dataset in one form at one side. `why` says what differs, or why it could not be compared."""

    dataset: str
    side: Side
    what: str  # `point rp-…`, `live`, `moment 0/3000148`
    host: str
    expected: str = ""
    digest: str = ""
    equal: bool
    why: str = ""
    damaged: bool = False  # not what it was proved to be, or not readable; not: its host could not be asked
    bytes_read: int = 0
    seconds: float = 0.0


class Verification(Frozen):
    """All comparisons of one system at one time."""

    id: str
    system: SystemName
    at: str
    point: str
    scrub: bool
    passed: bool
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Verifier:
    """Reads on the hosts; changes nothing there but names of moments in databases."""

    inventory: Inventory
    drivers: Drivers
    record: Record
    progress: ProgressSink = lambda progress: None

    def verify(
        self,
        name: SystemName,
        *,
        sides: Sequence[Side] = SIDES_DEFAULT,
        scrub: bool = False,
        held: RecoveryPoint | None = None,
    ) -> Verification:
        """Compare now; what came of it is on record and in the catalogue, whatever it is.

        With `held` just what its sides hold of that point, and nothing that lives.
        """
        system = find_system(self.inventory, name)
        point = held or newest_point(self.drivers.catalogue, name)
        if point is None:
            raise UsageError(
                f"{name} has no recovery point that sides could be compared with",
                hint=f"Take one first: skerry replicate run {name} --as PERSON",
            )
        if held is not None:
            sides = [side for side in sides if side in held.sides]
        found: list[Comparison] = []
        for dataset in system.datasets:
            if not isinstance(dataset, PostgresCluster):
                found += self._still(system, dataset, point, sides, scrub=scrub, live=held is None)
            elif held is not None:
                found += self._clone(system, dataset, held, sides)
            else:
                found += self._clusters(system, dataset, sides)
                found += [self._checked(system, dataset, side) for side in sides if scrub]
        if not found:
            raise UsageError(
                f"nothing of {name} {point.id} is held there that could be read",
                hint="Of a database a point is a moment of its log; with `points: clone` it is kept as files too.",
            )
        verification = Verification(
            id=new_run_id(),
            system=name,
            at=timestamp(self.drivers.clock.now()),
            point=point.id,
            scrub=scrub,
            passed=bool(found) and all(each.equal for each in found),
            comparisons=tuple(found),
        )
        for each in found:
            self._note(name, each, verification.at)
        document = verification.model_dump(mode="json")
        self.record(name, "verification.finished", document)
        if held is not None:
            return verification  # says nothing of what lives, nor of the newest point
        kind = "scrub" if scrub else "read"
        self.drivers.catalogue.put("verification", f"{name}/{kind}", document)
        if verification.passed:
            self.drivers.catalogue.put("verification", f"{name}/{kind}-passed", document)
        return verification

    def _note(self, system: SystemName, found: Comparison, at: str) -> None:
        """What was found damaged is used by nothing until it is found equal, or mended. Live data only while they are
        replicas, and trees and volumes only at DR: nothing says that the cloud's are those of the newest point.
        """
        what, _, point = found.what.partition(" ") if found.what.startswith("point ") else (found.what, "", "")
        replicated = self.drivers.authority.read(system).side is Side.SOURCE is not found.side
        if not point and (not replicated or (what == "live" and found.side is not Side.DR)):
            return
        if what == "checks" and found.equal:
            return  # that it is whole does not say that it is the right one
        place: dict[str, Any] = {"system": system, "dataset": found.dataset, "side": found.side, "point": point}
        if found.damaged:
            note_damage(self.drivers.catalogue, Damage(**place, why=found.why, found_at=at))
        elif found.equal:
            note_sound(self.drivers.catalogue, **place)

    def last_passed(self, name: SystemName, *, scrub: bool) -> Verification | None:
        """The newest that passed; a scrub counts as a reading too, not the other way round."""
        keys = ["scrub-passed"] if scrub else ["scrub-passed", "read-passed"]
        documents = [self.drivers.catalogue.get("verification", f"{name}/{key}") for key in keys]
        found = [Verification.model_validate(each) for each in documents if each is not None]
        return max(found, key=lambda each: each.at, default=None)

    def is_due(self, name: SystemName, *, older_than_seconds: float, scrub: bool, sides: Sequence[Side]) -> bool:
        """Whether no verification of all these sides passed within that time."""
        last = self.last_passed(name, scrub=scrub)
        if last is None or not set(sides) <= {each.side for each in last.comparisons}:
            return True
        return seconds_since(last.at, self.drivers.clock.now()) > older_than_seconds

    # -- trees and volumes

    def _still(
        self,
        system: System,
        dataset: StillData,
        point: RecoveryPoint,
        sides: Sequence[Side],
        *,
        scrub: bool,
        live: bool,
    ) -> list[Comparison]:
        held = next((each for each in point.datasets if each.dataset == dataset.name), None)
        expected, total = (held.digest, held.bytes_total) if held else ("", 0)
        show = out_of(total, self.progress)
        found = []
        for side in sides:
            host = self._host(system, side, dataset.name)
            if side is not Side.CLOUD:
                kept = partial(self._digest, dataset, host, point.id, scrub=scrub, progress=show)
                found.append(_compared(kept, lambda: NOT_AS_PROVED, dataset, side, f"point {point.id}", host, expected))
            if live and side is not Side.SOURCE:
                there = partial(self._digest, dataset, host, None, scrub=scrub, progress=show)
                named = partial(self._named, system, dataset, host)
                found.append(_compared(there, named, dataset, side, "live", host, expected))
        return found

    def _digest(
        self, dataset: StillData, host: Host, point: str | None, *, scrub: bool, progress: ProgressSink
    ) -> ContentDigest:
        if isinstance(dataset, FileTree):
            reading: Reading = "scrub" if scrub else "all"
            return self.drivers.trees.digest(dataset, host, point=point, reading=reading, progress=progress)
        return self.drivers.volumes.digest(dataset, host, point=point, scrub=scrub, progress=progress)

    def _named(self, system: System, dataset: StillData, host: Host) -> str:
        """The files or blocks that differ from the live source, as far as it can be asked; it may have moved on."""
        source = self._host(system, Side.SOURCE, dataset.name)
        places = StillDataMover(self.drivers).differences(dataset, source, host)
        told = "; ".join(places) or MOVED_ON
        return f"the replica is not what the point holds. Against {source.name} now: {told}"

    # -- databases

    def _clusters(self, system: System, cluster: PostgresCluster, sides: Sequence[Side]) -> list[Comparison]:
        """A new moment of the primary, and the same one replayed at each other side."""
        source = self._host(system, Side.SOURCE, cluster.name)
        name = "verify-" + new_run_id().replace("-", "")[:24]
        others = [side for side in sides if side is not Side.SOURCE]
        digests = self.drivers.database_digests
        lsn, expected = "", ""

        def hold() -> dict[str, Any]:
            nonlocal lsn, expected
            for side in others:
                digests.prepare_moment(cluster, self._host(system, side, cluster.name))
            lsn, expected = digests.hold_moment(cluster, source, name, seconds_max=MOMENT_SECONDS_MAX)
            return {"what": f"moment {lsn}", "digest": expected, "expected": expected, "equal": True}

        held = _judged(hold, dataset=cluster.name, side=Side.SOURCE, what="moment", host=source.name)
        found = [held]
        for side in others:
            host = self._host(system, side, cluster.name)

            def compare(host: Host = host) -> dict[str, Any]:
                if not held.equal:
                    return {"equal": False, "why": f"there is no moment to compare with: {held.why}"}
                there = digests.digest_at(cluster, host, lsn, timeout_seconds=REPLAY_SECONDS_MAX)
                equal = there.digest == expected
                why = "" if equal else f"rows or schemas differ from {source.name} at {lsn}"
                told = {"digest": there.digest, "equal": equal, "damaged": not equal, "why": why}
                return {**told, "bytes_read": there.bytes_read}

            what = f"moment {lsn}"
            found.append(
                _judged(compare, dataset=cluster.name, side=side, what=what, host=host.name, expected=expected)
            )
        return found

    def _clone(
        self, system: System, cluster: PostgresCluster, point: RecoveryPoint, sides: Sequence[Side]
    ) -> list[Comparison]:
        """The files of that moment at DR, opened and read; none where the point is a moment of the log alone."""
        host, digests = self._host(system, Side.DR, cluster.name), self.drivers.database_digests
        folder = digests.find_clone(cluster, host, point.id) if Side.DR in sides else None
        if folder is None:
            return []
        held = next(each for each in point.datasets if each.dataset == cluster.name)

        def compare() -> dict[str, Any]:
            try:
                check = digests.prove_clone(cluster, host, folder, lsn=held.mark, digest=held.digest)
            except DigestMismatch as error:
                return {"equal": False, "damaged": True, "why": error.message}
            told = "; ".join(f"{name} {said}" for name, said in check.checks.items())
            return {"digest": check.digest, "equal": True, "why": told}

        known = {"side": Side.DR, "what": f"point {point.id}", "host": host.name, "expected": held.digest}
        return [_judged(compare, dataset=cluster.name, **known)]

    def _checked(self, system: System, cluster: PostgresCluster, side: Side) -> Comparison:
        """PostgreSQL's own word about what it has there; what a check cannot show there is said."""
        host = self._host(system, side, cluster.name)

        def compare() -> dict[str, Any]:
            checks = self.drivers.database_digests.check(cluster, host)
            return {"equal": True, "why": "; ".join(f"{name} {said}" for name, said in checks.items())}

        return _judged(compare, dataset=cluster.name, side=side, what="checks", host=host.name)

    def _host(self, system: System, side: Side, dataset: str) -> Host:
        return self.inventory.hosts[system.host_of(side, dataset)]


def _compared(
    digest: Callable[[], ContentDigest],
    why_not: Callable[[], str],
    dataset: StillData,
    side: Side,
    what: str,
    host: Host,
    expected: str,
) -> Comparison:
    def compare() -> dict[str, Any]:
        made = digest()
        equal = made.digest == expected
        why = "" if equal else why_not()
        read = {"bytes_read": made.bytes_read, "seconds": made.seconds}
        return {"digest": made.digest, "equal": equal, "damaged": not equal and MOVED_ON not in why, "why": why, **read}

    return _judged(compare, dataset=dataset.name, side=side, what=what, host=host.name, expected=expected)


def _judged(compare: Callable[[], dict[str, Any]], **known: Any) -> Comparison:
    """What `compare` found; a host that could not be asked, or data that could not be read, is a failed comparison."""
    try:
        return Comparison(**{**known, **compare()})
    except (EvidenceError, EngineError, Interrupted):
        raise
    except OrchestratorError as error:
        why = f"could not be compared: {error.message}"
        # Of a database it may be that its moment could not be held, or did not come.
        unreadable = type(error) is DataError and not known["what"].startswith("moment")
        return Comparison(**known, equal=False, damaged=unreadable, why=why)


def complain_of_difference(verifications: Sequence[Verification]) -> None:
    """DigestMismatch naming everything that is not equal, or could not be compared."""
    wrong = [
        f"{each.system}/{found.dataset} at {found.side.value} ({found.what}): {found.why}"
        for each in verifications
        for found in each.comparisons
        if not found.equal
    ]
    if wrong:
        raise DigestMismatch(
            "\n".join(wrong),
            hint="What is damaged is used by no drill and no switch until it is mended. Look at the named files, then: "
            "skerry replicate run SYSTEM --as PERSON",
        )
