"""The heads of the log that signers saw: each statement names one, which makes its signer a witness of history."""

from collections.abc import Callable, Iterator, Sequence

from orchestrator.evidence import merkle
from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.note import Checkpoint, from_base64, from_decimal
from orchestrator.evidence.statements import Envelope, Statement
from orchestrator.foundation.errors import BrokenLog, EvidenceError, EvidenceRejected

SIGNED_KINDS = (
    *("approval.granted", "approval.refused", "approval.revoked"),
    *("run.ordered", "result.signed", "review.signed", "review.accepted", "attendance.signed"),
    *("gate.decided", "waiver.given", "policy.set"),
)


def seen_head(statement: Statement) -> Checkpoint | None:
    """What `logSeen` says; None where it is left out. EvidenceRejected when it is no head."""
    seen = statement.predicate.get("logSeen")
    if seen is None:
        return None
    if not isinstance(seen, dict):
        raise EvidenceRejected("logSeen is no head of a log")
    try:
        root = from_base64(str(seen.get("rootHash", "")))
        head = Checkpoint(str(seen.get("origin", "")), from_decimal(str(seen.get("size", ""))), root)
    except BrokenLog as error:
        raise EvidenceRejected(f"logSeen is no head of a log: {error.message}") from None
    if len(root) != merkle.HASH_BYTES or (head.size == 0 and root != merkle.EMPTY_ROOT):
        raise EvidenceRejected("logSeen is no head of a log")
    return head


def seen_sizes(events: Sequence[LoggedEvent], artifact: Callable[[str], bytes | None]) -> set[int]:
    """Sizes of the heads that the signers of `events` saw; what cannot be read is left to the judges."""
    return {head.size for _, head in seen_heads(events, artifact)}


def seen_heads(
    events: Sequence[LoggedEvent],
    artifact: Callable[[str], bytes | None],
    on_problem: Callable[[str], None] | None = None,
) -> Iterator[tuple[LoggedEvent, Checkpoint]]:
    """The head that each signed word names, where it names one and its envelope is there.

    What cannot be read is told to `on_problem`.
    """
    for event in events:
        if event.type not in SIGNED_KINDS:
            continue
        reference = event.data.get("envelope")
        digest = str(reference.get("digest", "")) if isinstance(reference, dict) else ""
        try:
            content = artifact(digest)
            head = seen_head(Envelope.parse(content).statement()) if content is not None else None
        except EvidenceError as error:
            if on_problem is not None:
                on_problem(f"entry {event.index}: the word of {event.data.get('by')}: {error.message}")
            continue
        if head is not None:
            yield event, head


def contradictions(
    origin: str, size: int, seen: Sequence[tuple[LoggedEvent, Checkpoint]], root_at: Callable[[int], bytes]
) -> list[str]:
    """Which of the heads that signers saw are no beginnings of the log of `size` entries."""
    problems = []
    for event, head in seen:
        where = f"entry {event.index}: {event.data.get('by')} saw"
        if head.origin != origin:
            problems.append(f"{where} a head of another log: {head.origin}")
        elif head.size > min(size, event.index):
            problems.append(f"{where} {head.size} entries before that word was one of them: the tail was dropped")
        elif (root_at(head.size) if head.size else merkle.EMPTY_ROOT) != head.root:
            problems.append(f"{where} another history of the log at size {head.size}")
    return problems
