"""A witness (c2sp.org/tlog-witness): cosigns a log's head only when it extends the last head it saw.

An audit office runs it. It is what stops an operator, even one who holds the log's keys, from showing two histories.
State is one file for each log, replaced whole before the answer leaves.
"""

import fcntl
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.evidence import merkle
from orchestrator.evidence.note import (
    SIGNATURES_MAX,
    Checkpoint,
    NoteSigner,
    VerifierKey,
    from_base64,
    from_decimal,
    open_checkpoint,
    split_note,
    to_base64,
)
from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.clock import Clock
from orchestrator.foundation.errors import BrokenLog

PROOF_LINES_MAX = 64
REQUEST_BYTES_MAX = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """HTTP status and body, as the protocol has them."""

    status: int
    body: str


class Witness:
    """Knows some logs by their keys, and signs as one cosigner."""

    def __init__(self, state: Path, signer: NoteSigner, logs: Sequence[VerifierKey], clock: Clock) -> None:
        self._state = state
        self._signer = signer
        self._logs = list(logs)
        self._clock = clock
        state.mkdir(parents=True, exist_ok=True)

    def add_checkpoint(self, request: bytes) -> Answer:
        """`old <size>`, proof lines, an empty line, the signed note. 200 brings the cosignature, 409 its size."""
        try:
            old_size, proof, note = _parse(request)
            text, signatures = split_note(note)
            head = Checkpoint.parse(text)
            if len(signatures) >= SIGNATURES_MAX:  # what is kept has one more, and must be readable again
                raise BrokenLog("there is no room for another signature")
        except BrokenLog as error:
            return Answer(400, f"{error.message}\n")
        keys = [key for key in self._logs if key.name == head.origin]
        if not keys:
            return Answer(404, "this log is not known here\n")
        try:
            open_checkpoint(note, keys)
        except BrokenLog as error:
            return Answer(403, f"{error.message}\n")
        if old_size > head.size:
            return Answer(400, "the old size is larger than the checkpoint\n")
        path = self._state / hashlib.sha256(head.origin.encode()).hexdigest()
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            last = Checkpoint.parse(split_note(path.read_text(encoding="utf-8"))[0]) if path.exists() else None
            refusal = _refuse(last, old_size, proof, head)
            if refusal:
                return refusal
            line = self._signer.signature_line(text, at_seconds=int(self._clock.now().timestamp()))
            replace_file(path, (note + line).encode())
            return Answer(200, line)


def _parse(request: bytes) -> tuple[int, list[bytes], str]:
    try:
        head, separator, note = request.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise BrokenLog("the request is not text") from None
    lines = head.split("\n")
    if not separator or not lines[0].startswith("old ") or len(lines) > PROOF_LINES_MAX:
        raise BrokenLog("malformed request")
    return from_decimal(lines[0][len("old ") :]), [from_base64(line) for line in lines[1:]], note


def _refuse(last: Checkpoint | None, old_size: int, proof: list[bytes], head: Checkpoint) -> Answer | None:
    have = last.size if last else 0
    if old_size != have:
        return Answer(409, f"{have}\n")
    if last is None or last.size == 0:
        bad = bool(proof) or (head.size == 0 and head.root != merkle.EMPTY_ROOT)
        return Answer(422, "no proof belongs to a first checkpoint\n") if bad else None
    if not merkle.proves_consistency(old_size, head.size, proof, last.root, head.root):
        return Answer(422, "this is not an extension of what the log showed before\n")
    return None


def witness_request(reader: merkle.TileReader, note: str, old_size: int) -> bytes:
    """What a log sends: its head, with the proof that it extends the one of `old_size`."""
    size = Checkpoint.parse(split_note(note)[0]).size
    proof = reader.consistency(old_size, size) if old_size else []
    return (f"old {old_size}\n" + "".join(to_base64(step) + "\n" for step in proof) + "\n" + note).encode()
