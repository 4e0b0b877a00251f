"""Puts on record what a run rests on: when it is created where it takes place, before it starts the files that decide
what runs, who approved the plan and who ordered the start, and while it goes on who withdrew their approval.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from orchestrator.contracts.observer import Recorder
from orchestrator.evidence.envelope import LOG_RUN
from orchestrator.evidence.statements import ENVELOPE_MEDIA_TYPE
from orchestrator.model.approval import SignedApproval, SignedOrder
from orchestrator.model.event import RunEvent

MEDIA_TYPES = {".yml": "application/yaml", ".yaml": "application/yaml", ".json": "application/json"}
_SURROUNDINGS = ("clock", "environment")
WORD_KINDS = {"approve": "approval.granted", "reject": "approval.refused", "revoke": "approval.revoked"}


class Papers(Protocol):
    """What a run rests on, by the digest of its plan.

    words    signed approvals, rejections and revocations, the oldest first
    files    the content of each file of the closure, by the path that the plan names
    orders   start orders for a run, by its operator
    facts    members of `run.created`: clock, environment, params, mode
    """

    def words(self, plan: str) -> Sequence[SignedApproval]: ...
    def files(self, plan: str) -> Mapping[str, bytes]: ...
    def orders(self, plan: str, run: str, operator: str) -> Sequence[SignedOrder]: ...
    def facts(self, plan: str, kind: str) -> Mapping[str, Any]: ...


class PrefacedRecorder:
    """A recorder that adds the papers of each run to what the engine tells of it.

    Just before `run.started` it records `runbook.registered`, `approval.granted` (and refused, revoked) and
    `run.ordered`; when a request is obeyed, when a run is gone on with, and at its end: words that withdrew an approval
    since. A run that another process began is first told of by `run.resumed`, with clock and environment as they are.
    What is told twice (after a crash) is on record twice; the rules allow it. `plan_of` knows the plan of a run.
    """

    def __init__(self, recorder: Recorder, papers: Papers, plan_of: Callable[[str], str]) -> None:
        self._recorder = recorder
        self._papers = papers
        self._plan_of = plan_of
        self._plans: dict[str, str] = {LOG_RUN: ""}
        self._told: set[tuple[str, str]] = set()
        self._telling = threading.RLock()

    def record(self, event: RunEvent) -> int:
        with self._telling:
            event = self._with_papers(event)
        return self._recorder.record(event)

    def keep(self, content: bytes, media_type: str) -> dict[str, Any]:
        return self._recorder.keep(content, media_type)

    def publish(self) -> None:
        self._recorder.publish()

    def _with_papers(self, event: RunEvent) -> RunEvent:
        if event.type in ("run.created", "run.started"):
            plan = self._plans[event.run] = str(event.data.get("plan", ""))
            if event.type == "run.created":
                facts = self._papers.facts(plan, str(event.data.get("kind", "")))
                return event.model_copy(update={"data": {**event.data, **facts}})
            self._tell_files(event, plan)
            self._tell_words(event, self._papers.words(plan))
            self._tell_orders(event, plan)
        elif event.run not in self._plans or event.type in ("request.accepted", "run.finished"):
            if event.run not in self._plans:
                plan = self._plans[event.run] = self._plan_of(event.run)
                if plan:
                    facts = self._papers.facts(plan, "")
                    around = {name: facts[name] for name in _SURROUNDINGS if name in facts}
                    self._tell(event, "run.resumed", {"plan": plan, **around})
            self._tell_words(event, later_words(self._papers.words(self._plans[event.run])))
        return event

    def _tell_files(self, event: RunEvent, plan: str) -> None:
        files = {}
        for path, content in sorted(self._papers.files(plan).items()):
            suffix = path[path.rfind(".") :] if "." in path else ""
            files[path] = self.keep(content, MEDIA_TYPES.get(suffix, "application/octet-stream"))
        self._tell(event, "runbook.registered", {"plan": plan, "files": files})

    def _tell_words(self, event: RunEvent, words: Sequence[SignedApproval]) -> None:
        for word in words:
            nonce = (event.run, word.statement.nonce)
            if nonce not in self._told:
                self._tell(event, *word_as_event(self._recorder, word))
                self._told.add(nonce)

    def _tell_orders(self, event: RunEvent, plan: str) -> None:
        for order in self._papers.orders(plan, event.run, str(event.data.get("operator", ""))):
            kept = self.keep(order.envelope.encode(), ENVELOPE_MEDIA_TYPE)
            data = {"by": order.person, "role": order.role, "key": order.key_fingerprint, "envelope": kept}
            self._tell(event, "run.ordered", data)

    def _tell(self, event: RunEvent, kind: str, data: dict[str, Any]) -> None:
        self._recorder.record(RunEvent(type=kind, run=event.run, at=event.at, data=data))


def later_words(words: Sequence[SignedApproval]) -> list[SignedApproval]:
    """Of all words over a plan those that change what a start rested on: approvals that were withdrawn or had expired,
    and their renewal.
    """
    found: list[SignedApproval] = []
    withdrawn: set[str] = set()
    expired_at = ""  # when the first approval did
    for word in words:
        said = word.statement
        if said.decision != "approve":
            withdrawn.add(said.person)
        elif expired_at and said.at > expired_at:
            found.append(word)
            continue
        else:
            expired_at = min(expired_at or said.expires_at, said.expires_at)
        if said.person in withdrawn:
            found.append(word)
    return found


def word_as_event(recorder: Recorder, word: SignedApproval) -> tuple[str, dict[str, Any]]:
    """Kind and data of the event that puts a signed word on record; its envelope is kept."""
    said = word.statement
    data = {
        "by": said.person,
        "role": said.role,
        "decision": said.decision,
        "key": word.key_fingerprint,
        "envelope": recorder.keep(word.envelope.encode(), ENVELOPE_MEDIA_TYPE),
    }
    return WORD_KINDS[said.decision], data
