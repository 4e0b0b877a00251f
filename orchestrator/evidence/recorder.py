"""The recorder: the one way into the ledger, and what the rest of skerry sees of it (contracts.observer.Recorder)."""

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.contracts.shared_ledger import SharedLedger
from orchestrator.evidence.artifacts import Artifacts
from orchestrator.evidence.disclosure import conceal
from orchestrator.evidence.elsewhere import OpenLock, compare_with_places
from orchestrator.evidence.envelope import LOG_RUN, UnnumberedEvent, prepare_event, subject_of
from orchestrator.evidence.ingest import Ballast, Ingest, LedgerLock, open_database, store_error
from orchestrator.evidence.log import Publisher
from orchestrator.evidence.note import Checkpoint, NoteSigner, VerifierKey, split_note
from orchestrator.evidence.recovery import Recovered, reconcile, remove_torn_files
from orchestrator.evidence.scrubber import Scrubber
from orchestrator.evidence.several_machines import (
    CopyLock,
    SharedArtifacts,
    SharedIngest,
    SharedPublisher,
    ensure_keys,
    found_log,
    refuse_copy,
)
from orchestrator.evidence.signing.log_keys import Algorithm, SigningKey
from orchestrator.evidence.verify_log import own_keys
from orchestrator.evidence.withheld import OBSERVED_MEDIA_TYPE, OF_ARTIFACTS, Withheld, names_to_conceal
from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.canonical_json import canonical_json, read_json
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.errors import BrokenLog, EvidenceError, LedgerFull
from orchestrator.foundation.limits import (
    EVIDENCE_BALLAST_BYTES,
    EVIDENCE_ENTRY_BYTES_MAX,
    EVIDENCE_PUBLISH_SECONDS_MAX,
)
from orchestrator.model.event import RunEvent

Compare = Callable[[Path], list[str]]  # asks the places that saw the log; who did not answer, in words

FORMAT_VERSION = 1
_NUMBERS_BYTES_MAX = 40  # the two places where an event's number stands


class LedgerRecorder:
    """A ledger opened for writing; `record` may be called from any thread.

    Besides the contract: `register_secret` keeps a value out of all that follows; `head` is the newest checkpoint, for
    statements that say which history their signer saw; `not_compared` is the event that names the places which did not
    answer at the opening; `close` publishes and lets the next process in.
    """

    def __init__(
        self,
        folder: Path,
        *,
        origin: str,
        source: str,
        clock: Clock,
        ballast_bytes: int,
        conceal: frozenset[str] = frozenset(),
        compare: Compare,
        shared: SharedLedger | None = None,
    ) -> None:
        self._conceal = conceal
        self._withheld = Withheld(folder)
        self._source = source
        self._clock = clock
        self._scrubber = Scrubber()
        self._published_at = clock.monotonic_seconds()
        self._artifacts = Artifacts(folder) if shared is None else SharedArtifacts(folder, shared)
        self._lock: LedgerLock | CopyLock = (LedgerLock if shared is None else CopyLock)(folder / "lock")
        try:
            if shared is not None:
                ensure_keys(folder, shared)
            unanswered = compare(folder) if shared is None else []
            keys_are_new = not any(folder.glob("vkey*"))
            signers = _signers(folder, origin)
            ballast = Ballast(folder / "ballast", ballast_bytes)
            if not ballast.load():
                raise LedgerFull(f"{folder}: no room for a ballast of {ballast_bytes} bytes: nothing can be begun")
            recovered = _recover(folder, origin, signers, unclean=self._lock.last_end_was_unclean)
            keys = [str(signer.verifier_key) for signer in signers]
            genesis = self._about_log("log.genesis", {"format": FORMAT_VERSION, "origin": origin, "keys": keys})
            self._ingest: Ingest | SharedIngest
            if shared is None:
                database = folder / "ledger.db"
                self._ingest = Ingest(database, ballast, self._disk_full_event)
                self._publisher = Publisher(database, folder / "log", origin, signers, clock)
            else:
                begins = self._prepare(genesis)
                found_log(folder, shared, signers, origin, begins, keys_are_new=keys_are_new)
                self._ingest = SharedIngest(shared)
                copy = SharedPublisher(folder, origin, signers, clock, shared)
                self._publisher = copy
                copy.catch_up()
                unanswered = compare(folder)
        except BaseException:
            self._lock.release(cleanly=False)
            raise
        if shared is None and self._ingest.size == 0:
            self.record(genesis)
        if recovered.is_worth_recording:
            self.record(self._about_log("evidence.recovered", recovered.data()))
        self.not_compared: RunEvent | None = None
        if unanswered:
            data = {"size": self._ingest.size, "failed": unanswered, "kept": []}
            self.not_compared = self._about_log("anchor.failed", data)
            self.record(self.not_compared)

    def record(self, event: RunEvent) -> int:
        """Durable when it returns. Data beyond the size of an entry goes to the artifacts, referred to as `kept`.

        In a long run this publishes too, so that no event waits longer than some minutes for a signed head.
        """
        index = self._ingest.commit(self._prepare(event))
        if self._clock.monotonic_seconds() - self._published_at > EVIDENCE_PUBLISH_SECONDS_MAX:
            self.publish()
        return index

    def keep(self, content: bytes, media_type: str) -> dict[str, Any]:
        content = self._scrubber.clean_bytes(content)
        if self._conceal and media_type == OBSERVED_MEDIA_TYPE:
            concealed, disclosures = conceal(read_json(content), self._conceal)
            self._withheld.keep(OF_ARTIFACTS, disclosures)
            content = canonical_json(concealed)
        return self._artifacts.keep(content, media_type)

    def publish(self) -> None:
        self._published_at = self._clock.monotonic_seconds()
        self._publisher.publish()

    def register_secret(self, value: str) -> None:
        self._scrubber.register(value)

    def head(self) -> Checkpoint:
        """The newest signed checkpoint, made now if need be."""
        return Checkpoint.parse(split_note(self._publisher.publish())[0])

    def close(self) -> None:
        """Publish what is recorded, and let go of the ledger. Calling it again does nothing."""
        self._ingest.close()
        try:
            self._publisher.publish()
        finally:
            self._publisher.close()
            self._lock.release(cleanly=True)

    def _prepare(self, event: RunEvent) -> UnnumberedEvent:
        data, disclosures = conceal(self._scrubber.clean(event.data), self._conceal)
        prepared = self._encode(event, data)
        # After encoding, which refuses names of runs that could name no file.
        self._withheld.keep(event.run, disclosures)
        size = len(prepared.head) + len(prepared.middle) + len(prepared.tail) + _NUMBERS_BYTES_MAX
        if size <= EVIDENCE_ENTRY_BYTES_MAX:
            return prepared
        body = prepared.head[len(b'{"data":') : prepared.head.rindex(b',"id":"')]
        return self._encode(event, {"kept": self._artifacts.keep(body, "application/json")})

    def _encode(self, event: RunEvent, data: dict[str, Any]) -> UnnumberedEvent:
        return prepare_event(
            run=event.run,
            kind=event.type,
            time=event.at,
            source=self._source,
            subject=subject_of(event.system, event.step, event.attempt),
            data=data,
        )

    def _about_log(self, kind: str, data: dict[str, Any]) -> RunEvent:
        return RunEvent(type=kind, run=LOG_RUN, at=timestamp(self._clock.now()), data=data)

    def _disk_full_event(self, reason: str) -> UnnumberedEvent:
        at = timestamp(self._clock.now())
        return self._encode(RunEvent(type="evidence.disk_full", run=LOG_RUN, at=at), {"reason": reason})


def open_recorder(
    folder: Path,
    *,
    origin: str,
    source: str,
    clock: Clock,
    ballast_bytes: int = EVIDENCE_BALLAST_BYTES,
    conceal: Iterable[str] = (),
    compare: Compare = compare_with_places,
    shared: SharedLedger | None = None,
) -> LedgerRecorder:
    """Open (or begin) the ledger in `folder` for writing. The caller closes it.

    `origin` names the log (`evidence.example.org/dr-prod`) and never changes; `source` names this controller
    (`urn:skerry:controller:<host>`); members called as `conceal` says are recorded as salted digests. `compare` asks
    the enrolled places what they saw of this log; with `shared`, the folder is this machine's copy of a ledger that
    several machines write. Raises RunInProgress when another process writes to it, BrokenLog
    when database and published log contradict each other or a place has seen more or something else, LedgerFull when
    there is no room.
    """
    if not origin or any(letter.isspace() or letter == "+" for letter in origin):
        raise EvidenceError(f"{origin!r} can not name a log: no white space and no +")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if shared is None:
            refuse_copy(folder)
        return LedgerRecorder(
            folder,
            origin=origin,
            source=source,
            clock=clock,
            ballast_bytes=ballast_bytes,
            conceal=names_to_conceal(conceal),
            compare=compare,
            shared=shared,
        )
    except OSError as error:
        raise EvidenceError(f"{folder}: the ledger can not be opened: {error}") from error


def reopen_recorder(ledger: Path, clock: Clock, open_lock: OpenLock | None) -> LedgerRecorder:
    """Open a ledger that is there, under the name it has, to put something more on record. The caller closes it.

    `open_lock` opens enrolled buckets, which are asked, as witnesses are, what they saw of the log. Raises as
    `open_recorder` does.
    """
    return open_recorder(
        ledger,
        origin=own_keys(ledger)[0].name,
        source=controller_source(),
        clock=clock,
        compare=lambda folder: compare_with_places(folder, open_lock=open_lock),
    )


def _signers(folder: Path, origin: str) -> Sequence[NoteSigner]:
    """The log's own keys, made at the first opening; `vkey` tells the world of them."""
    private = folder / "private"
    private.mkdir(mode=0o700, exist_ok=True)
    signers = []
    for name, vkey, algorithm in (
        ("log.ed25519", "vkey", Algorithm.ED25519),
        ("log.ml-dsa-44", "vkey.ml-dsa-44", Algorithm.COSIGNATURE_ML_DSA_44),
    ):
        told = folder / vkey
        if told.exists() and not (private / name).exists():
            raise EvidenceError(
                f"{private / name}: the log's signing key is gone", hint=f"Put the key back that belongs to {told}."
            )
        signer = NoteSigner(origin, SigningKey.load_or_make(private / name, algorithm))
        if not told.exists():
            replace_file(told, f"{signer.verifier_key}\n".encode())
        elif VerifierKey.parse(told.read_text(encoding="utf-8")) != signer.verifier_key:
            raise EvidenceError(f"{told}: not the key of {private / name} for the log {origin}")
        signers.append(signer)
    return signers


def _recover(folder: Path, origin: str, signers: Sequence[NoteSigner], *, unclean: bool) -> Recovered:
    torn = remove_torn_files(folder) if unclean else 0
    database = folder / "ledger.db"
    connection = open_database(database)
    try:
        connection.execute("INSERT OR IGNORE INTO about VALUES('origin', ?)", (origin,))
        (known,) = connection.execute("SELECT value FROM about WHERE name = 'origin'").fetchone()
        if known != origin:
            raise BrokenLog(f"{folder} is the ledger of {known}, not of {origin}")
        entries, checkpoints = reconcile(connection, folder / "log", [signer.verifier_key for signer in signers])
    except sqlite3.Error as error:
        raise store_error(error, database) from error
    finally:
        connection.close()
    return Recovered(
        unclean_end=unclean,
        torn_files_removed=torn,
        entries_restored=entries,
        checkpoints_restored=checkpoints,
    )


def controller_source() -> str:
    """The CloudEvents source of this machine."""
    return f"urn:skerry:controller:{os.uname().nodename}"
