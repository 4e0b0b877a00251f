"""Corrective actions out of signed reviews: what was found, who mends it, and whether a later drill showed it mended.

Pure. Rule: nobody closes a finding by saying so. Only the review of a later drill that passed closes it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.statements import Envelope
from orchestrator.evidence.story import ArtifactReader, as_logged
from orchestrator.foundation.errors import BrokenLog


@dataclass
class CorrectiveAction:
    """One finding with its action; `closed_by` is the run of the drill that closed it."""

    id: str
    run: str
    text: str
    action: str
    owner: str
    due: str
    found_by: str
    log_index: int
    closed_by: str = ""

    @property
    def is_open(self) -> bool:
        return not self.closed_by

    def as_data(self) -> dict[str, Any]:
        return asdict(self) | {"open": self.is_open}


def corrective_actions(events: Sequence[LoggedEvent], artifact: ArtifactReader) -> list[CorrectiveAction]:
    """Every finding of every review in the log, in order. Signatures are judged with the bundle of each run.

    BrokenLog or EvidenceRejected for a review of another shape than reviews have.
    """
    found: list[CorrectiveAction] = []
    drills: set[str] = set()
    passed: set[str] = set()
    for event in events:
        if event.type == "run.created" and event.data.get("kind") == "drill":
            drills.add(event.run)
        elif event.type == "run.finished" and event.data.get("result") == "passed" and event.run in drills:
            passed.add(event.run)
        elif event.type == "review.signed":
            with as_logged():
                content = artifact(str((event.data.get("envelope") or {}).get("digest", "")))
                if content is not None:
                    said = Envelope.parse(content).statement().predicate
                    _close(found, said.get("closes", []), event.run, passed)
                    found += [_found(each, event) for each in said.get("findings", [])]
    return found


def _close(found: list[CorrectiveAction], closes: Any, run: str, passed: set[str]) -> None:
    if not isinstance(closes, list):
        raise BrokenLog(f"a review of run {run} closes {closes!r}, which is no list of findings")
    for action in found:
        if action.is_open and action.id in closes and run in passed and run != action.run:
            action.closed_by = run


def _found(finding: dict[str, Any], event: LoggedEvent) -> CorrectiveAction:
    words = {name: str(finding.get(name, "")) for name in ("id", "text", "action", "owner", "due")}
    return CorrectiveAction(run=event.run, found_by=str(event.data.get("by", "")), log_index=event.index, **words)
