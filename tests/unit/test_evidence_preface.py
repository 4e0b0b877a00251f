"""Words over a plan reach the log of its run: before the start, when they come later, and after a crash."""

from orchestrator.evidence.preface import PrefacedRecorder, later_words
from orchestrator.model.event import RunEvent
from tests.fakes.recorder import FakeRecorder
from tests.fakes.run_papers import FewPapers, word

PLAN = "sha256:" + "00" * 32


class Telling:
    def __init__(self) -> None:
        self.kept = FakeRecorder()
        self.papers = FewPapers()
        self.recorder = self.another_process()

    def another_process(self) -> PrefacedRecorder:
        return PrefacedRecorder(self.kept, self.papers, lambda run: PLAN)

    def tell(self, kind: str, **data: str) -> None:
        self.recorder.record(RunEvent(type=kind, run="r", at="2026-11-21T00:00:00.000Z", data=data))

    def start(self) -> None:
        self.tell("run.created", plan=PLAN)
        self.tell("run.started", plan=PLAN)

    @property
    def kinds(self) -> list[str]:
        return [event.type for event in self.kept.recorded]


def test_every_word_is_on_record_before_the_start_by_what_it_says():
    telling = Telling()
    telling.papers.given = [word(PLAN, "ana", "approve", 1), word(PLAN, "eve", "reject", 2)]
    telling.start()
    assert telling.kinds == [
        "run.created",
        "runbook.registered",
        "approval.granted",
        "approval.refused",
        "run.started",
    ]


def test_a_withdrawal_is_on_record_when_the_run_obeys_and_once():
    telling = Telling()
    telling.papers.given = [word(PLAN, "ana", "approve", 1)]
    telling.start()
    telling.papers.given.append(word(PLAN, "ana", "revoke", 3, comment="the window moved"))
    telling.tell("step.started")
    telling.tell("request.accepted", operation="pause")
    telling.tell("request.accepted", operation="pause")
    telling.tell("run.finished")
    later = telling.kinds[telling.kinds.index("run.started") + 1 :]
    assert later == ["step.started", "approval.revoked", "request.accepted", "request.accepted", "run.finished"]
    (revoked,) = [event for event in telling.kept.recorded if event.type == "approval.revoked"]
    assert (revoked.data["by"], revoked.data["decision"]) == ("ana", "revoke")


def test_a_run_that_was_broken_off_learns_of_it_before_anything_else():
    telling = Telling()
    telling.papers.given = [word(PLAN, "ana", "approve", 1), word(PLAN, "eve", "approve", 2)]
    telling.start()
    telling.papers.given += [word(PLAN, "ana", "revoke", 3), word(PLAN, "ana", "approve", 4)]
    telling.recorder = telling.another_process()
    before = len(telling.kinds)
    telling.tell("step.started")
    telling.tell("step.started")
    told = ["run.resumed", "approval.revoked", "approval.granted", "step.started", "step.started"]
    assert telling.kinds[before:] == told


def test_without_a_withdrawal_nothing_is_told_twice():
    telling = Telling()
    telling.papers.given = [word(PLAN, "ana", "approve", 1)]
    telling.start()
    telling.recorder = telling.another_process()
    telling.tell("step.started")
    assert telling.kinds.count("approval.granted") == 1


def test_a_run_that_another_process_began_tells_its_surroundings_again():
    telling = Telling()
    telling.papers = FewPapers({"clock": {"source": "none"}, "environment": {"python": "3.11"}, "mode": "live"})
    telling.recorder = telling.another_process()
    telling.start()
    telling.tell("step.started")
    telling.recorder = telling.another_process()
    telling.tell("step.started")
    telling.tell("step.finished")
    (resumed,) = [event for event in telling.kept.recorded if event.type == "run.resumed"]
    assert resumed.data == {"plan": PLAN, "clock": {"source": "none"}, "environment": {"python": "3.11"}}
    assert telling.kinds[-3:] == ["run.resumed", "step.started", "step.finished"]


def test_what_renews_an_expired_approval_is_a_later_word():
    first = word(PLAN, "ana", "approve", 1)
    ended = first.statement.model_copy(update={"expires_at": "2026-11-21T00:00:05.000Z"})
    words = [
        first.model_copy(update={"statement": ended}),
        word(PLAN, "olu", "approve", 4),
        word(PLAN, "eve", "approve", 9),
    ]
    assert [each.statement.nonce for each in later_words(words)] == ["eve-9"]


def test_later_words_are_withdrawals_and_what_renews_them():
    words = [
        word(PLAN, "ana", "approve", 1),
        word(PLAN, "eve", "approve", 2),
        word(PLAN, "ana", "revoke", 3),
        word(PLAN, "eve", "approve", 4),
        word(PLAN, "ana", "approve", 5),
    ]
    assert [each.statement.nonce for each in later_words(words)] == ["ana-3", "ana-5"]
