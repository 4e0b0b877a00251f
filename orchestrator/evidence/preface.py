"""Puts on record, before a run starts, what it rests on: the files that decide what runs, who approved
the plan, and who ordered the start.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.contracts.observer import Recorder
from orchestrator.evidence.statements import ENVELOPE_MEDIA_TYPE
from orchestrator.model.approval import SignedApproval, SignedOrder
from orchestrator.model.event import RunEvent

MEDIA_TYPES = {".yml": "application/yaml", ".yaml": "application/yaml", ".json": "application/json"}


class PrefacedRecorder:
    """A recorder that, just before `run.started`, records `runbook.registered`, `approval.granted` and `run.ordered`.

    `approvals_of` gives the signed approvals of a plan digest, `files_of` the content of each file of its closure by
    the path that the plan names, `orders_of` the start orders of a plan for a run, by its operator. A start that is
    told twice (after a crash) is prefaced twice; the rules allow it.
    """

    def __init__(
        self,
        recorder: Recorder,
        approvals_of: Callable[[str], Sequence[SignedApproval]],
        files_of: Callable[[str], Mapping[str, bytes]],
        orders_of: Callable[[str, str, str], Sequence[SignedOrder]] = lambda plan, run, operator: (),
    ) -> None:
        self._recorder = recorder
        self._approvals_of = approvals_of
        self._files_of = files_of
        self._orders_of = orders_of

    def record(self, event: RunEvent) -> int:
        if event.type == "run.started":
            plan = str(event.data.get("plan", ""))
            self._tell_files(event, plan)
            self._tell_approvals(event, plan)
            self._tell_orders(event, plan)
        return self._recorder.record(event)

    def keep(self, content: bytes, media_type: str) -> dict[str, Any]:
        return self._recorder.keep(content, media_type)

    def publish(self) -> None:
        self._recorder.publish()

    def _tell_files(self, event: RunEvent, plan: str) -> None:
        files = {}
        for path, content in sorted(self._files_of(plan).items()):
            suffix = path[path.rfind(".") :] if "." in path else ""
            files[path] = self.keep(content, MEDIA_TYPES.get(suffix, "application/octet-stream"))
        self._tell(event, "runbook.registered", {"plan": plan, "files": files})

    def _tell_approvals(self, event: RunEvent, plan: str) -> None:
        for approval in self._approvals_of(plan):
            said = approval.statement
            data = {
                "by": said.person,
                "role": said.role,
                "decision": said.decision,
                "key": approval.key_fingerprint,
                "envelope": self.keep(approval.envelope.encode(), ENVELOPE_MEDIA_TYPE),
            }
            kind = "approval.granted" if said.decision == "approve" else "approval.refused"
            self._tell(event, kind, data)

    def _tell_orders(self, event: RunEvent, plan: str) -> None:
        for order in self._orders_of(plan, event.run, str(event.data.get("operator", ""))):
            kept = self.keep(order.envelope.encode(), ENVELOPE_MEDIA_TYPE)
            data = {"by": order.person, "role": order.role, "key": order.key_fingerprint, "envelope": kept}
            self._tell(event, "run.ordered", data)

    def _tell(self, event: RunEvent, kind: str, data: dict[str, Any]) -> None:
        self._recorder.record(RunEvent(type=kind, run=event.run, at=event.at, data=data))
