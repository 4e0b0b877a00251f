"""Anchoring that happens by itself: while a log is written to, and once more when it is closed.

Rules: without enrolment nothing happens; a place that fails is a warning on record (`anchor.failed`), told once for
each trouble, and never the failure of a run; what a place answered is on record in the log itself (`anchor.recorded`).
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from orchestrator.contracts.object_lock import ObjectLock
from orchestrator.evidence.anchoring import Anchored, EnrolledBucket, Post, anchor, post, read_enrolment
from orchestrator.evidence.envelope import LOG_RUN
from orchestrator.evidence.receipts_on_record import put_receipts_on_record
from orchestrator.evidence.recorder import LedgerRecorder
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.errors import OrchestratorError
from orchestrator.foundation.limits import EVIDENCE_PUBLISH_SECONDS_MAX
from orchestrator.model.event import RunEvent

OpenLock = Callable[[EnrolledBucket], ObjectLock]


class StandingAnchors:
    """Shows new heads of an open ledger to its enrolled places, from a thread of its own. `close` shows the last one.

    `open_lock` opens an enrolled bucket; `warn` is told of trouble once it is on record.
    """

    def __init__(
        self,
        ledger: Path,
        recorder: LedgerRecorder,
        clock: Clock,
        *,
        open_lock: OpenLock,
        warn: Callable[[RunEvent], None] = lambda event: None,
        send: Post = post,
        every_seconds: float = EVIDENCE_PUBLISH_SECONDS_MAX,
    ) -> None:
        self._ledger, self._recorder, self._clock = ledger, recorder, clock
        self._open_lock, self._warn, self._send, self._every_seconds = open_lock, warn, send, every_seconds
        self._told: set[str] = set()
        self._shown_size = -1
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_showing, name="anchors", daemon=True)
        if (ledger / "anchors").exists():
            self._thread.start()

    def close(self) -> None:
        """Show the newest head, unless that was done. The ledger must still be open; no place makes it raise."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self.show()

    def _keep_showing(self) -> None:
        while not self._over.wait(self._every_seconds):
            self.show()

    def show(self) -> None:
        """Publish, and show the head if it is new. Trouble ends on record."""
        try:
            if read_enrolment(self._ledger).is_empty:
                return
            size = self._recorder.head().size
            if size == self._shown_size:
                return
            # First what was answered about earlier heads: no event may follow the last head that is shown.
            put_receipts_on_record(self._ledger, self._recorder, timestamp(self._clock.now()))
            size = self._recorder.head().size
            done = self._anchor()
        except (OrchestratorError, OSError, ValueError) as error:
            done = Anchored(0, failed=[f"the newest head: {error}"])
        if done.failed:
            self._tell(done)
        else:
            self._shown_size = size

    def _anchor(self) -> Anchored:
        """One bucket that does not open leaves the other places their turn."""
        enrolment = read_enrolment(self._ledger)
        locks: dict[str, ObjectLock] = {}
        unopened = []
        for bucket in enrolment.buckets:
            try:
                locks[bucket.bucket] = self._open_lock(bucket)
            except OrchestratorError as error:
                unopened.append(f"bucket {bucket.bucket}: {error.message}")
        opened = replace(enrolment, buckets=tuple(each for each in enrolment.buckets if each.bucket in locks))
        done = anchor(self._ledger, opened, self._clock, locks=locks, send=self._send)
        done.failed += unopened
        return done

    def _tell(self, done: Anchored) -> None:
        new = [text for text in done.failed if text not in self._told]
        if not new:
            return
        data = {"size": done.size, "failed": new, "kept": done.kept}
        event = RunEvent(type="anchor.failed", run=LOG_RUN, at=timestamp(self._clock.now()), data=data)
        try:
            self._recorder.record(event)
        except OrchestratorError:
            return  # a ledger that takes nothing more says so to the run itself, at its next event
        self._told.update(new)
        self._warn(event)
