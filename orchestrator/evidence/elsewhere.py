"""Before a ledger is written to: is its head the newest that others have seen?

A machine restored from an old image, or a copy that went another way, would sign a second history; it is refused before
it signs anything.

Rules: places are asked side by side, for some seconds in all; one that does not answer is told and stops nothing; one
that has seen more, or something else, is an error. Reading commands ask nobody.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

from orchestrator.contracts.object_lock import ObjectLock
from orchestrator.evidence import merkle
from orchestrator.evidence.anchoring import EnrolledBucket, EnrolledWitness, Post, post, read_enrolment
from orchestrator.evidence.note import Checkpoint, from_decimal, split_note
from orchestrator.evidence.verify_log import HeldHead, read_held
from orchestrator.evidence.witness import witness_request
from orchestrator.foundation.errors import BrokenLog, EvidenceError, OrchestratorError
from orchestrator.foundation.printable import printable

ANSWERS_SECONDS_MAX = 10.0
OpenLock = Callable[[EnrolledBucket], ObjectLock]
_RESTORED = (
    "This machine was restored from an older copy, or its ledger was cut or replaced. Write nothing with it: bring "
    "back the newest copy of the ledger's folder, see it verify (skerry evidence verify --held LISTING), then go on."
)


def compare_with_places(
    ledger: Path,
    *,
    open_lock: OpenLock | None = None,
    send: Post = post,
    seconds_max: float = ANSWERS_SECONDS_MAX,
) -> list[str]:
    """Ask every enrolled witness and bucket what it saw of this log; returns, in words, who did not answer.

    Without enrolment, or without a published head, nobody is asked; without `open_lock` no bucket is. Raises BrokenLog
    when one of them has seen more of this log than there is here, or something else.
    """
    try:
        enrolment = read_enrolment(ledger)
        note = (ledger / "log" / "checkpoint").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except EvidenceError as error:
        return [f"the enrolled places: {error.message}"]
    asked: list[tuple[str, Callable[[], None]]] = [
        (f"witness {each.name}", _asking_witness(ledger, note, each, send)) for each in enrolment.witnesses
    ]
    if open_lock is not None:
        buckets = enrolment.buckets
        asked += [(f"bucket {each.bucket}", _asking_bucket(ledger, note, each, open_lock)) for each in buckets]
    return _answers(asked, seconds_max)


def _answers(asked: Sequence[tuple[str, Callable[[], None]]], seconds_max: float) -> list[str]:
    came: SimpleQueue[tuple[str, OrchestratorError | None]] = SimpleQueue()

    def ask(name: str, question: Callable[[], None]) -> None:
        try:
            question()
        except OrchestratorError as error:
            came.put((name, error))
        except (OSError, ValueError) as error:
            came.put((name, EvidenceError(f"{type(error).__name__}: {error}")))
        else:
            came.put((name, None))

    for name, question in asked:
        threading.Thread(target=ask, args=(name, question), name=f"ask {name}", daemon=True).start()
    waiting = {name for name, _ in asked}
    deadline = threading.Event()
    timer = threading.Timer(seconds_max, deadline.set)
    timer.daemon = True
    timer.start()
    silent = []
    try:
        while waiting and not deadline.is_set():
            try:
                name, error = came.get(timeout=0.2)
            except Empty:
                continue
            waiting.discard(name)
            if isinstance(error, BrokenLog):
                raise BrokenLog(f"{name} {error.message}: this ledger is not written to", hint=_RESTORED)
            if error is not None:
                silent.append(f"{name}: not compared: {error.message}")
    finally:
        timer.cancel()
    return silent + [f"{name}: not compared: no answer within {seconds_max:g} s" for name in sorted(waiting)]


def _asking_witness(ledger: Path, note: str, witness: EnrolledWitness, send: Post) -> Callable[[], None]:
    head = Checkpoint.parse(split_note(note)[0])

    def answer(old_size: int) -> tuple[int, bytes]:
        # Each place has a reader of its own: they are asked at the same time.
        body = witness_request(_reader(ledger, head), note, old_size)
        return send(witness.url.rstrip("/") + "/add-checkpoint", body, "text/plain")

    def ask() -> None:
        status, body = answer(head.size)
        if status == 409:
            seen = _size_in(body)
            if seen > head.size:
                raise BrokenLog(f"has seen {seen} entries of this log, which has {head.size} here")
            status, body = answer(seen)
        if status == 422:
            raise BrokenLog("has seen another history of this log")
        if status != 200:
            raise EvidenceError(f"it answers {status}: {printable(body.decode(errors='replace').strip()[:200])}")

    return ask


def _size_in(answer: bytes) -> int:
    try:
        return from_decimal(answer.decode(errors="replace").strip())
    except BrokenLog as error:
        raise EvidenceError(f"it answers with no size: {error.message}") from None


def _reader(ledger: Path, head: Checkpoint) -> merkle.TileReader:
    return merkle.TileReader(head.size, lambda name: (ledger / "log" / name).read_bytes())


def _asking_bucket(ledger: Path, note: str, bucket: EnrolledBucket, open_lock: OpenLock) -> Callable[[], None]:
    head = Checkpoint.parse(split_note(note)[0])

    def ask() -> None:
        keys = "\n".join(copy.key for copy in open_lock(bucket).list(f"{head.origin}/"))
        judge_held(head, read_held(keys), _reader(ledger, head).root)

    return ask


def judge_held(head: Checkpoint, held: Sequence[HeldHead], root_at: Callable[[int], bytes]) -> None:
    """BrokenLog when a head that was kept elsewhere is no beginning of `head`."""
    for each in sorted(held, key=lambda one: -one.size):
        if each.size > head.size:
            raise BrokenLog(f"holds a head over {each.size} entries, this log has {head.size}")
        root = root_at(each.size) if each.size else merkle.EMPTY_ROOT
        if root != each.root:
            raise BrokenLog(f"holds another history of this log, at size {each.size}")
