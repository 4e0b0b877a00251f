"""A migration run as the engine tells it, staged for the judges of evidence: real ledger, real keys, no hosts.

`filing` moves and is committed, `archive` fails its check at the front and is rolled back. A `tweak` may change or drop
any event before it is recorded: that is how dishonest runs are made.
"""

import hashlib
import json
import secrets
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from orchestrator.evidence.approvals import SshApprovalSigner, sign_with_ssh_key
from orchestrator.evidence.recorder import LedgerRecorder, open_recorder
from orchestrator.evidence.statements import ENVELOPE_MEDIA_TYPE, REVIEW, START_ORDER, TEST_RESULT, Statement
from orchestrator.foundation.canonical_json import canonical_json, digest_of
from orchestrator.foundation.clock import timestamp
from orchestrator.model.approval import ApprovalStatement
from orchestrator.model.event import RunEvent

ORIGIN = "evidence.example/prod"
PEOPLE = {
    "ana": ["system-owner"],
    "carla": ["auditor"],
    "dana": ["migration-engineer"],
    "ben": ["migration-engineer", "system-owner"],
    "eve": ["system-owner"],
}
OPERATOR, AUTHOR = "dana", "ben"
PLAYBOOKS = {f"playbooks/{name}.yml": f"# {name}\n".encode() for name in ("drain", "start")}
PLAYBOOKS["playbooks/files/checks.py"] = b"# checks\n"
RUNBOOK = b"id: migrate\nversion: '1.0'\n"
SYSTEMS = ("filing", "archive")
DATASETS = {"filing": ["register", "attachments"], "archive": ["documents"]}

Tweak = Callable[[str, str, dict[str, Any]], dict[str, Any] | None]


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def make_keys(folder: Path) -> Path:
    for person in PEOPLE:
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", person, "-f", str(folder / person)]
        subprocess.run(words, check=True)
    return folder


class StagedClock:
    """Every look at it is a fifth of a second later; it began a minute ago."""

    def __init__(self, began: datetime | None = None) -> None:
        self._now = began or datetime.now(UTC) - timedelta(seconds=60)

    def now(self) -> datetime:
        self._now += timedelta(milliseconds=200)
        return self._now.replace(microsecond=self._now.microsecond // 1000 * 1000)

    def monotonic_seconds(self) -> float:
        return self._now.timestamp()

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


def step(
    name: str,
    phase: str,
    action: dict[str, Any],
    needs: list[str],
    inverse: dict[str, Any] | None = None,
    gate: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "id": name,
        "title": name.replace("_", " ").capitalize(),
        "phase": phase,
        "action": action,
        "needs": needs,
        "gate": gate,
        "retry": {"attempts_max": 2, "wait_seconds": 1.0},
        "inverse": {"action": inverse, "none_because": "" if inverse else "it harms nothing"},
    }


def playbook(name: str, side: str) -> dict[str, Any]:
    return {"verb": "run_playbook", "playbook": name, "side": side}


def authority(one: str, other: str) -> dict[str, Any]:
    return {"verb": "move_authority", "from_side": one, "to_side": other}


GATE = {"id": "G5", "title": "Go", "criteria": [{"id": "equal", "step": "verify_digests", "observed": "equal"}]}
CHECK = {"verb": "check", "side": "cloud", "through_front": True, "levels": ["technical"]}
STEPS = [
    step("preflight", "prepare", {"verb": "preflight"}, []),
    step("replicate_to_dr", "replicate", {"verb": "replicate", "source": "source", "replica": "dr"}, ["preflight"]),
    step("drain", "quiesce", playbook("drain", "source"), ["replicate_to_dr"], playbook("start", "source")),
    step("stop_jobs", "quiesce", playbook("drain", "source"), ["replicate_to_dr"], playbook("start", "source")),
    step(
        "verify_digests",
        "verify_data",
        {"verb": "verify_digests", "sides": ["source", "dr", "cloud"]},
        ["drain", "stop_jobs"],
    ),
    step(
        "move_authority",
        "fence_source",
        authority("source", "cloud"),
        ["verify_digests"],
        authority("cloud", "source"),
    ),
    step(
        "switch_front",
        "switch_traffic",
        {"verb": "switch_front", "side": "cloud"},
        ["move_authority"],
        {"verb": "switch_front", "side": "source"},
        GATE,
    ),
    step("check_front", "verify_service", CHECK, ["switch_front"]),
    step("commit", "commit", {"verb": "commit", "side": "cloud"}, ["check_front"]),
]


def plan() -> dict[str, Any]:
    closure = {path: digest(content) for path, content in PLAYBOOKS.items()} | {"runbooks/migrate.yml": digest(RUNBOOK)}
    return {
        "wave": "wave-1",
        "author": AUTHOR,
        "runbook": "migrate",
        "runbook_version": "1.0",
        "closure": closure,
        "systems": [
            {
                "system": {
                    "name": name,
                    "objectives": {"rto": 120.0, "rpo": 5.0, "mtpd": 3600.0, "wrt": 0.0},
                    "datasets": [{"name": dataset} for dataset in DATASETS[name]],
                },
                "steps": STEPS,
                "approval": {"persons_min": 1, "roles": ["system-owner"]},
            }
            for name in SYSTEMS
        ],
    }


class StagedRun:
    """Tells one run. `publish` is called at the ends of steps; tests anchor there."""

    def __init__(
        self,
        ledger: Path,
        keys: Path,
        *,
        tweak: Tweak | None = None,
        approvers: tuple[str, ...] = ("ana",),
        approve: Callable[[ApprovalStatement], ApprovalStatement] = lambda said: said,
        signed_by: Callable[[str], str] = lambda person: person,
        on_publish: Callable[[], None] | None = None,
        clock: StagedClock | None = None,
        order: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        ordered_by: str = OPERATOR,
        succeeds: bool = False,
        jobs_stop_first: bool = False,
        between: Callable[["StagedRun"], None] = lambda staged: None,
    ) -> None:
        self._between = between
        self._quiet = ("stop_jobs", "drain") if jobs_stop_first else ("drain", "stop_jobs")  # beside each other
        self._order, self._ordered_by, self._succeeds = order, ordered_by, succeeds
        self.ledger, self.keys, self.run = ledger, keys, "0193" + secrets.token_hex(14)
        self.clock = clock or StagedClock()
        self.plan = plan()
        self.plan_digest = digest_of(self.plan)
        self._tweak = tweak
        self._approvers, self._approve, self._signed_by = approvers, approve, signed_by
        self._on_publish = on_publish or (lambda: None)
        self._publishes = on_publish is not None
        self.recorder: LedgerRecorder

    def tell(self, kind: str, data: dict[str, Any], subject: str = "") -> None:
        changed = self._tweak(kind, subject, json.loads(json.dumps(data))) if self._tweak else data
        if changed is None:
            return
        moved = changed.pop("_subject", None)
        kind = changed.pop("_kind", kind)
        system, _, rest = (moved if moved is not None else subject).partition("/")
        name, _, attempt = rest.partition("/")
        at = timestamp(self.clock.now())
        at = changed.pop("_at", at)
        event = RunEvent(
            type=kind, run=self.run, system=system, step=name, attempt=int(attempt or 0), at=at, data=changed
        )
        self.recorder.record(event)

    def go(self) -> "StagedRun":
        """The whole run; the ledger is closed after it."""
        self.recorder = open_recorder(
            self.ledger, origin=ORIGIN, source="urn:skerry:controller:staged", clock=self.clock, ballast_bytes=4096
        )
        try:
            self._begin()
            self._committed("filing")
            self._between(self)
            if self._succeeds:
                self._committed("archive")
            else:
                self._rolled_back("archive")
            self._end()
        finally:
            self.recorder.close()
        self._on_publish()
        return self

    def _begin(self) -> None:
        document = canonical_json(self.plan)
        self.tell(
            "run.created",
            {
                "plan": self.plan_digest,
                "planArtifact": self.recorder.keep(document, "application/json"),
                "wave": "wave-1",
                "kind": "migrate",
                "operator": OPERATOR,
                "author": AUTHOR,
                "tool": {"name": "skerry", "version": "0.1.0"},
                "host": {"name": "controller"},
                "systems": list(SYSTEMS),
            },
        )
        files = {**PLAYBOOKS, "runbooks/migrate.yml": RUNBOOK}
        kept = {path: self.recorder.keep(content, "application/yaml") for path, content in files.items()}
        self.tell("runbook.registered", {"plan": self.plan_digest, "files": kept})
        for person in self._approvers:
            self._tell_approval(person)
        if self._order is not None:
            self._tell_order(self._order)
        self.tell("run.started", {"operator": OPERATOR, "plan": self.plan_digest})

    def _tell_order(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        now, by = self.clock.now(), self._ordered_by
        role = PEOPLE[by][0]
        predicate: dict[str, Any] = {
            "operator": by,
            "role": role,
            "statementTime": timestamp(now),
            "validity": {"notBefore": timestamp(now), "notAfter": timestamp(now + timedelta(hours=12))},
            "maxRuns": 1,
            "nonce": secrets.token_hex(16),
        }
        predicate = change(predicate)
        subject = str(predicate.pop("_plan", self.plan_digest)).removeprefix("sha256:")
        said = Statement({"plan": subject}, START_ORDER, predicate)
        envelope, key = sign_with_ssh_key(said, str(self.keys / self._signed_by(by)))
        kept = self.recorder.keep(envelope.text().encode(), ENVELOPE_MEDIA_TYPE)
        self.tell("run.ordered", {"by": by, "role": role, "key": key, "envelope": kept})

    def _tell_approval(self, person: str) -> None:
        self.tell_word(person)

    def tell_word(
        self,
        person: str,
        decision: Literal["approve", "reject", "revoke"] = "approve",
        comment: str = "",
        change: Callable[[ApprovalStatement], ApprovalStatement] = lambda said: said,
    ) -> None:
        """A signed word over the plan, put on record now."""
        now = self.clock.now()
        head = self.recorder.head()
        said = ApprovalStatement(
            plan=self.plan_digest,
            person=person,
            role="system-owner",
            decision=decision,
            comment=comment,
            at=timestamp(now - timedelta(seconds=5 if decision == "approve" else 0)),
            expires_at=timestamp(now + timedelta(days=2)),
            nonce=secrets.token_hex(8),
            log_origin=ORIGIN,
            log_size=head.size,
            log_root=head.text().decode().split("\n")[2],
        )
        signed = SshApprovalSigner().sign(self._approve(change(said)), str(self.keys / self._signed_by(person)))
        envelope = self.recorder.keep(signed.envelope.encode(), ENVELOPE_MEDIA_TYPE)
        data = {"by": person, "role": "system-owner", "decision": decision, "envelope": envelope}
        kinds = {"approve": "approval.granted", "reject": "approval.refused", "revoke": "approval.revoked"}
        self.tell(kinds[decision], data)

    def _do(self, system: str, name: str, *, attempt: int = 1, status: str = "passed", undo: bool = False) -> None:
        planned = next(each for each in STEPS if each["id"] == name)
        subject = f"{system}/{name}/{attempt}"
        mode = "undo" if undo else "do"
        action = planned["inverse"]["action"] if undo else planned["action"]
        if planned["gate"] and not undo:
            criteria = [{"id": "equal", "comparison": "equal", "expected": True, "observed": True, "passed": True}]
            self.tell("gate.passed", {"gate": "G5", "passed": True, "criteria": criteria}, f"{system}/{name}/0")
        started = {"mode": mode, "title": planned["title"], "phase": planned["phase"], "action": action}
        self.tell("step.started", started, subject)
        self._events_within(system, subject, action)
        message = "done" if status == "passed" else "the service answers 500"
        finished = {"mode": mode, "status": status, "message": message, "durationSeconds": 0.3, "observed": {"n": 1}}
        self.tell("step.finished", finished, subject)
        if self._publishes:
            self.recorder.publish()
            self._on_publish()

    def _events_within(self, system: str, subject: str, action: dict[str, Any]) -> None:
        match action["verb"]:
            case "check":
                ran = digest(PLAYBOOKS["playbooks/files/checks.py"])
                found = {"deed": "check", "program": "checks.py", "digest": ran, "status": "successful"}
                self.tell("program.finished", {**found, "side": action["side"]}, subject)
            case "run_playbook":
                name = action["playbook"]
                for counter in range(1, 4):
                    self.tell("ansible.event", {"playbook": name, "counter": counter, "host": "h1"}, subject)
                ended = {"playbook": name, "digest": digest(PLAYBOOKS[f"playbooks/{name}.yml"]), "events": 3}
                self.tell("playbook.finished", {**ended, "status": "successful", "side": action["side"]}, subject)
            case "replicate":
                for dataset in DATASETS[system]:
                    report = {"dataset": dataset, "source": "onprem-1", "replica": "dr-1", "method": "rsync"}
                    figures = {"bytes_total": 18_000_000, "bytes_wire": 4_100_000, "seconds": 0.8}
                    self.tell("transfer.finished", {"hop": "source->dr", **report, **figures}, subject)
            case "verify_digests":
                for dataset in DATASETS[system]:
                    side = {"digest": digest(dataset.encode()), "algorithm": "tree/v1"}
                    sides = {"source": side, "dr": side, "cloud": side}
                    self.tell("digests.compared", {"dataset": dataset, "match": True, "sides": sides}, subject)
            case "move_authority":
                number = 2 if action["to_side"] == "cloud" else 3
                data = {"from": action["from_side"], "to": action["to_side"], "number": number}
                self.tell("authority.moved", {**data, "confirmed": {"services": ["h1"]}}, subject)
            case "switch_front":
                self.tell("front.switched", {"side": action["side"], "after": "10.30.1.11"}, subject)
            case "commit":
                rto = {"objective": "rto", "target_seconds": 120.0, "achieved_seconds": 5.0, "met": True}
                self.tell("objective.measured", rto, subject)
                rpo = {"objective": "rpo", "target_seconds": 5.0, "achieved_seconds": 0.0, "met": True}
                self.tell("objective.measured", rpo, subject)
                self.tell("system.committed", {"side": "cloud", "number": 2}, subject)

    def _committed(self, system: str) -> None:
        for planned in STEPS:
            if planned["id"] == "replicate_to_dr":
                self._do(system, planned["id"], status="failed")
                self._do(system, planned["id"], attempt=2)
            else:
                self._do(system, planned["id"])
        self.tell("system.changed", {"state": "committed", "reason": ""}, system)

    def _rolled_back(self, system: str) -> None:
        for name in ("preflight", "replicate_to_dr", *self._quiet, "verify_digests", "move_authority", "switch_front"):
            self._do(system, name)
        self._do(system, "check_front", status="failed")
        self.tell("rollback.started", {"because": "check_front: the service answers 500"}, system)
        for name in ("switch_front", "move_authority", "stop_jobs", "drain"):
            self._do(system, name, undo=True)
        self.tell("rollback.finished", {"because": "check_front"}, system)
        self.tell("system.changed", {"state": "rolled_back", "reason": "check_front"}, system)

    def _end(self) -> None:
        archive = "committed" if self._succeeds else "rolled_back"
        systems = {"filing": {"state": "committed"}, "archive": {"state": archive}}
        result = "passed" if self._succeeds else "failed"
        self.tell("run.finished", {"result": result, "rolledBack": not self._succeeds, "systems": systems})
        self.recorder.publish()

    def result(self, entries_digest: str, predicate: dict[str, Any], *, signed_by: str = OPERATOR) -> None:
        """A test result over the run's digest, by the operator, recorded in the same run."""
        self.recorder = open_recorder(
            self.ledger, origin=ORIGIN, source="urn:test", clock=self.clock, ballast_bytes=4096
        )
        try:
            said = Statement({f"run:{self.run}": entries_digest}, TEST_RESULT, predicate)
            envelope, key = sign_with_ssh_key(said, str(self.keys / signed_by))
            kept = self.recorder.keep(envelope.text().encode(), ENVELOPE_MEDIA_TYPE)
            self.tell("result.signed", {"by": OPERATOR, "role": PEOPLE[OPERATOR][0], "envelope": kept, "key": key})
        finally:
            self.recorder.close()

    def reopened(self, tells: Callable[["StagedRun"], None]) -> None:
        """Open the ledger again, and tell more in the same run."""
        self.recorder = open_recorder(
            self.ledger, origin=ORIGIN, source="urn:test", clock=self.clock, ballast_bytes=4096
        )
        try:
            tells(self)
        finally:
            self.recorder.close()

    def review(self, entries_digest: str, *, by: str = "carla", signed_by: str | None = None) -> None:
        """A review over the run's digest, recorded in the same run."""
        self.recorder = open_recorder(
            self.ledger, origin=ORIGIN, source="urn:test", clock=self.clock, ballast_bytes=4096
        )
        try:
            predicate = {
                "conclusion": "filing accepted, archive to be repeated",
                "strengths": ["Clients of filing noticed five seconds."],
                "findings": [
                    {
                        "id": "F1",
                        "severity": "moderate",
                        "text": "The index of archive was not ready at the cloud.",
                        "cause": "The index is built at start and takes longer than the check waits.",
                        "action": "Build the index before the switch",
                        "owner": "ana",
                        "due": "2027-01-31",
                    }
                ],
            }
            said = Statement({f"run:{self.run}": entries_digest}, REVIEW, predicate)
            envelope, key = sign_with_ssh_key(said, str(self.keys / (signed_by or by)))
            kept = self.recorder.keep(envelope.text().encode(), ENVELOPE_MEDIA_TYPE)
            self.tell("review.signed", {"by": by, "role": PEOPLE[by][0], "envelope": kept, "key": key})
        finally:
            self.recorder.close()
        self._on_publish()


def trust_policy(ledger: Path, keys: Path, **changes: Any) -> bytes:
    """The auditor's policy over a staged ledger; keyword arguments replace members."""
    vkeys = [(ledger / name).read_text().strip() for name in ("vkey", "vkey.ml-dsa-44")]
    people = [
        {
            "id": person,
            "roles": roles,
            "keys": [
                {
                    "ssh": (keys / f"{person}.pub").read_text(),
                    "notBefore": "2020-01-01T00:00:00Z",
                    "notAfter": "2040-01-01T00:00:00Z",
                }
            ],
        }
        for person, roles in PEOPLE.items()
    ]
    document: dict[str, Any] = {
        "version": 1,
        "tlogPolicy": "".join(f"log {key}\n" for key in vkeys) + "quorum none\n",
        "identityDomain": "tax.example",
        "people": people,
        "rules": {
            "approval": {"threshold": 1, "roles": ["system-owner"], "distinctFrom": ["author", "operator"]},
            "review": {"threshold": 1, "roles": ["auditor"], "distinctFrom": ["author", "operator"]},
        },
    }
    return json.dumps(document | changes, indent=1).encode()
