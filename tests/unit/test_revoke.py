"""Approvals taken back: signed with the person's own key, obeyed by the gate, and by runs that are under way."""

from contextlib import contextmanager
from typing import Any

import pytest

from orchestrator.contracts.engine import RunStatus, StepStatus, SystemState, SystemStatus
from orchestrator.evidence.approvals import SshApprovalSigner
from orchestrator.evidence.papers import words_on
from orchestrator.foundation.clock import SystemClock, timestamp
from orchestrator.foundation.errors import ApprovalInvalid, ApprovalMissing, GateClosed, LedgerFull, RunInProgress
from orchestrator.model.system import ApprovalRule
from orchestrator.operations.migrate import run_plan
from orchestrator.operations.revoke import newest_words, pause_runs, put_on_record, revoke, withdrawn
from orchestrator.operations.status import GOING_FORWARD, ask_run
from orchestrator.wiring.state import open_kept
from tests.fakes.clock import SetClock
from tests.fakes.recorder import FakeRecorder
from tests.fakes.run_papers import word
from tests.unit.test_approve import Office, keys  # noqa: F401 - keys is a fixture


@pytest.fixture
def office(keys, tmp_path):  # noqa: F811 - the fixture by its name
    return Office(keys, tmp_path, ApprovalRule(persons_min=1, roles=("system-owner",)))


def take_back(office, person="ana", *, key=None, role=None, because="the window was moved"):
    return revoke(
        office.plan,
        person=person,
        role=role,
        key_file=str(office.keys / (key or person)),
        because=because,
        people=office.people,
        signer=SshApprovalSigner(),
        **office.parts,
    )


def closed(office) -> str:
    return withdrawn(office.plan, office.parts["catalogue"], timestamp(office.parts["clock"].now()))


def test_a_plan_whose_only_approval_was_taken_back_may_not_run(office):
    office.approve("ana")
    office.ensure()
    office.parts["clock"].sleep(1)
    (taken,) = take_back(office)
    assert taken.statement.decision == "revoke"
    with pytest.raises(ApprovalMissing, match="ana revoked: the window was moved"):
        office.ensure()
    found = office.standing()
    assert ([each.statement.person for each in found.revoked], found.approved) == (["ana"], False)


def test_approving_again_opens_the_gate_and_another_approval_keeps_it_open(office):
    office.approve("ana")
    office.parts["clock"].sleep(1)
    take_back(office)
    office.parts["clock"].sleep(1)
    office.approve("olu")
    office.ensure()
    assert closed(office) == ""
    office.approve("ana")
    assert not office.standing().revoked


def test_of_two_words_in_one_moment_the_careful_one_counts(office):
    office.approve("ana")
    take_back(office)
    assert not office.standing().approved


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"person": "olu"}, "olu has no approval"),
        ({"role": "security"}, "ana has no approval .* as security"),
        ({"key": "stranger"}, "the approval by ana"),
        ({"because": "  "}, "say why"),
    ],
)
def test_who_cannot_take_an_approval_back(office, how, words):
    office.approve("ana")
    with pytest.raises(ApprovalInvalid, match=words):
        take_back(office, **how)
    office.ensure()


def test_every_role_in_which_a_person_approved_is_taken_back(keys, tmp_path):  # noqa: F811
    office = Office(keys, tmp_path, ApprovalRule(persons_min=1, roles=("system-owner", "security")))
    office.approve("olu")
    office.approve("olu", "security")
    office.parts["clock"].sleep(1)
    assert {each.statement.role for each in take_back(office, "olu")} == {"system-owner", "security"}


def test_a_run_under_way_learns_what_closes_it(office):
    office.approve("ana")
    assert closed(office) == ""
    office.parts["clock"].sleep(1)
    take_back(office)
    assert closed(office).startswith("ana revoked the approval as system-owner: the window")
    office.parts["clock"].sleep(1)
    office.approve("olu", decision="reject", comment="no")
    assert closed(office) == "olu rejected the plan: no"


def test_a_run_is_not_gone_on_with_after_its_approval_expired_until_somebody_renews(office):
    office.approve("ana")
    office.parts["clock"].sleep(80 * 24 * 3600)
    assert closed(office).startswith("the approval by ana as system-owner expired at ")
    office.approve("olu")
    assert closed(office) == ""


@pytest.fixture
def kept_run(office, tmp_path, monkeypatch):
    """A run of the office's plan in a home of its own, with ana's approval taken back."""
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "home"))
    office.parts["clock"] = SystemClock()
    with open_kept() as (runs, catalogue):
        office.parts["catalogue"] = catalogue
        catalogue.put("plan", office.plan.digest, office.plan.model_dump(mode="json"))
        office.approve("ana")
        runs.submit("r1", office.plan, kind="migrate", operator="dan")
        take_back(office)
    return office


@pytest.mark.parametrize("operation", sorted(GOING_FORWARD))
def test_nothing_that_goes_forward_is_asked_of_a_run_whose_approval_was_taken_back(kept_run, operation):
    with pytest.raises(GateClosed, match=r"ana revoked the approval as system-owner") as refused:
        ask_run("r1", "", operation, by="dan", reason="go on", step="")
    assert "skerry runs ask rollback r1" in refused.value.hint
    with open_kept() as (runs, _):
        assert runs.status("r1").requests_open == 0


@pytest.mark.parametrize("operation", ["pause", "rollback", "cancel"])
def test_a_stop_and_a_way_back_may_always_be_asked_for(kept_run, operation):
    ask_run("r1", "", operation, by="dan", reason="enough", step="")
    with open_kept() as (runs, _):
        assert runs.status("r1").requests_open > 0


def test_after_a_renewal_a_run_may_be_asked_to_go_on(kept_run):
    with open_kept() as (_, catalogue):
        kept_run.parts["catalogue"] = catalogue
        kept_run.parts["clock"].sleep(0.01)
        kept_run.approve("olu")
    ask_run("r1", "", "resume", by="dan", reason="go on", step="")
    with open_kept() as (runs, _):
        assert runs.status("r1").requests_open > 0


# -- runs of the plan


class AskedRuns:
    """One run; notes what is asked of it."""

    def __init__(self, plan: str, *systems: SystemStatus, requests_open: int = 0) -> None:
        self._status = RunStatus(
            run="r1",
            plan=plan,
            wave="w",
            kind="migrate",
            operator="dan",
            state="running",
            created_at="2026-11-21T00:00:00.000Z",
            systems=systems,
            requests_open=requests_open,
        )
        self.asked: list[tuple[str, str]] = []

    def list(self, *, limit: int = 100, plan: str = "") -> list[RunStatus]:
        return [self._status] if plan in ("", self._status.plan) else []

    def status(self, run: str) -> RunStatus:
        return self._status.model_copy(update={"requests_open": 0})

    def request(self, run: str, system: str, operation: str, **how: Any) -> None:
        self.asked.append((system, operation))

    def submit(self, *_: Any, **__: Any) -> None:
        raise AssertionError("a run that is there is not begun again")


class IdleWorker:
    def __init__(self, runs: AskedRuns) -> None:
        self._runs = runs

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def serve(self) -> None:
        raise AssertionError("only the command worker serves")

    def await_finished(self, run: str, *, timeout_seconds: float | None = None) -> RunStatus:
        return self._runs.status(run)


def system(name: str, state: SystemState, *, undone: bool = False) -> SystemStatus:
    steps = (StepStatus(system=name, step="drain", mode="undo", state="done"),) if undone else ()
    return SystemStatus(system=name, state=state, steps=steps)


def test_systems_on_their_way_forward_are_asked_to_pause_and_others_are_not(office):
    runs: Any = AskedRuns(
        office.plan.digest,
        system("going", "running"),
        system("back", "running", undone=True),
        system("over", "committed"),
    )
    assert [status.run for status in pause_runs(office.plan, runs, by="ana", because="x")] == ["r1"]
    assert runs.asked == [("going", "pause")]
    other: Any = AskedRuns("sha256:" + "00" * 32, system("going", "running"))
    assert pause_runs(office.plan, other, by="ana", because="x") == []


def go_on(office, runs: Any) -> RunStatus:
    return run_plan(
        office.plan,
        operator="dan",
        kind="migrate",
        runs=runs,
        worker=IdleWorker(runs),
        allowed=lambda plan, operator: None,
        withdrawn=lambda plan: "ana revoked",
    )


def test_a_run_that_was_broken_off_is_not_resumed(office):
    runs: Any = AskedRuns(office.plan.digest, system("filing", "paused"), system("archive", "committed"))
    with pytest.raises(GateClosed, match="run r1 does not go on: ana revoked") as refused:
        go_on(office, runs)
    assert runs.asked == []
    assert "rollback" in refused.value.hint


def test_a_way_back_goes_on(office):
    runs: Any = AskedRuns(office.plan.digest, system("filing", "paused", undone=True))
    with pytest.raises(GateClosed):
        go_on(office, runs)
    assert runs.asked == [("filing", "resume")]
    done: Any = AskedRuns(office.plan.digest, system("filing", "rolled_back", undone=True))
    assert go_on(office, done).systems[0].state == "rolled_back"


def test_what_was_cut_off_is_paused_unless_something_else_was_asked(office):
    runs: Any = AskedRuns(office.plan.digest, system("filing", "paused"), system("cut", "running"))
    with pytest.raises(GateClosed):
        go_on_status(office, runs)
    assert runs.asked == [("cut", "pause")]


def go_on_status(office, runs: Any) -> RunStatus:
    """As go_on, with a worker that has obeyed."""
    runs.status = lambda run: runs._status.model_copy(
        update={"systems": tuple(each.model_copy(update={"state": "paused"}) for each in runs._status.systems)}
    )
    return go_on(office, runs)


# -- on record


@contextmanager
def ledger(recorder: Any = None, error: Exception | None = None):
    if error is not None:
        raise error
    yield recorder


def test_it_stands_in_the_run_or_in_the_log_itself(office):
    taken = (word(office.plan.digest, "ana", "revoke", 1),)
    runs: Any = AskedRuns(office.plan.digest, system("filing", "paused"))
    for found, run in ((runs.list(), "r1"), ([], "log")):
        recorder = FakeRecorder()
        assert put_on_record(taken, found, ledger(recorder), SetClock()) == "now"
        assert [(event.type, event.run) for event in recorder.recorded] == [("approval.revoked", run)]
        assert recorder.recorded[0].data["plan"] == office.plan.digest


def test_where_a_worker_writes_it_puts_it_on_record_and_a_full_ledger_is_an_error(office):
    taken = (word(office.plan.digest, "ana", "revoke", 1),)
    busy = ledger(error=RunInProgress("another process is writing to this ledger"))
    assert put_on_record(taken, [], busy, SetClock()) == "later"
    with pytest.raises(LedgerFull):
        put_on_record(taken, [], ledger(error=LedgerFull("no room")), SetClock())


def test_words_of_both_kinds_are_found_the_newest_last(office):
    office.approve("ana")
    office.parts["clock"].sleep(1)
    take_back(office)
    words = words_on(office.parts["catalogue"], office.plan.digest)
    assert [each.statement.decision for each in words] == ["approve", "revoke"]
    assert newest_words(words)["ana", "system-owner"].decision == "revoke"
