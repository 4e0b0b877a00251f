"""What a drill is said to have shown follows from what is on record of it: each lie about it is named."""

from typing import Any

import pytest

from orchestrator.evidence.drilled import drills_show_what_they_claim
from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.reading.comparisons import comparisons
from orchestrator.evidence.reading.words import outcome
from orchestrator.evidence.rules import RULE_SETS
from orchestrator.evidence.story import Attempt, RunStory, SystemStory

PLAN = {
    "systems": [
        {
            "system": {"name": "filing", "objectives": {"rto": 900.0, "rpo": 60.0, "wrt": 600.0, "mtpd": 14400.0}},
            "steps": [{"id": "bubble", "action": {"verb": "drill_in_bubble"}}],
        }
    ]
}
BEGUN, BACK, ENDED = (f"2026-11-22T12:00:{second}.000Z" for second in ("00", "08", "20"))
FINISHED = {
    "id": "d1",
    "system": "filing",
    "point": "rp-1",
    "point_at": "2026-11-22T11:59:30.000Z",
    "begun_at": BEGUN,
    "operational_at": BACK,
    "isolated": True,
    "production_changed": [],
    "left": {"processes": [], "mounts": [], "files": [], "machines": []},
    "attempts": 2,
    "checks": [{"name": "answers", "passed": True}],
    "carried_back": [{"dataset": "register"}],
    "passed": True,
}


def event(index: int, kind: str, at: str, data: dict[str, Any], step: str = "") -> LoggedEvent:
    subject = "filing" + (f"/{step}/1" if step else "")
    return LoggedEvent(index, "run-1", index, kind, at, subject, data)


def measured(index: int, name: str, target: float, achieved: float) -> LoggedEvent:
    data = {"objective": name, "target_seconds": target, "achieved_seconds": achieved, "met": achieved <= target}
    return event(index, "objective.measured", ENDED, data)


def story(lies: dict[str, dict[str, Any]] | None = None, *, without: str = "", rto: float = 8.0) -> RunStory:
    said = lies or {}
    attempt = {"drill": "d1", "isolated": True, "attempts": [{"reached": False}]}
    told = [
        event(2, "drill.begun", BEGUN, {"id": "d1"}),
        event(3, "bubble.proved", BEGUN, attempt | said.get("bubble.proved", {})),
        event(4, "drill.finished", ENDED, FINISHED | said.get("drill.finished", {})),
        measured(5, "rto", 900.0, rto),
        measured(6, "rpo", 60.0, 30.0),
    ]
    action = {"action": {"verb": "drill_in_bubble"}}
    done = event(7, "step.finished", ENDED, {"status": "passed"}, "bubble")
    ran = Attempt(system="filing", step="bubble", mode="do", number=1, started=event(1, "step.started", BEGUN, action))
    ran.finished = done
    system = SystemStory("filing", {"bubble": action}, [ran], [each for each in told if each.type != without])
    return RunStory("run-1", told, plan=PLAN, systems={"filing": system})


def test_a_drill_that_shows_what_it_claims_is_told_with_its_point():
    problems, told = drills_show_what_they_claim(story())
    figures = "2 attempts to get out failed, 1 checks passed, 1 datasets the same once carried back"
    assert (problems, told) == ([], f"recovered where nothing leads out, and taken away: filing from rp-1 ({figures})")
    assert outcome(story().systems["filing"]) == "passed"
    assert {"drill", "tabletop", "walkthrough"} <= set(RULE_SETS)


@pytest.mark.parametrize(
    ("lies", "problem"),
    [
        ({"drill.finished": {"passed": False}}, "the step passed, the drill did not"),
        ({"bubble.proved": {"attempts": [{"reached": True}]}}, "the bubble was not isolated"),
        ({"bubble.proved": {"isolated": False}}, "the bubble was not isolated"),
        ({"bubble.proved": {"attempts": []}}, "nothing was tried that would show that it is isolated"),
        ({"drill.finished": {"checks": [{"name": "answers", "passed": False}]}}, "its check answers did not pass"),
        ({"bubble.proved": {"drill": "another"}}, "not on record that it began and was proved isolated"),
        ({"drill.finished": {"production_changed": ["front was a"]}}, "production changed meanwhile"),
        ({"drill.finished": {"left": {"mounts": ["/x"]}}}, "left something behind"),
        ({"drill.finished": {"operational_at": ""}}, "was not back between the drill's begin and its end"),
        ({"drill.finished": {"operational_at": "2026-11-22T12:00:05.000Z"}}, "RTO is said to be 8 s; the times on"),
        ({"drill.finished": {"point_at": "2026-11-22T11:00:00.000Z"}}, "RPO is said to be 30 s; the times on record"),
    ],
)
def test_each_lie_about_a_drill_is_named(lies, problem):
    problems, _ = drills_show_what_they_claim(story(lies))
    assert any(problem in each for each in problems), problems


@pytest.mark.parametrize(
    ("without", "problem"),
    [
        ("drill.finished", "filing: its drill passed, and what it showed is not on record"),
        ("drill.begun", "not on record that it began"),
        ("objective.measured", "its RTO was not measured"),
    ],
)
def test_what_is_missing_is_named(without, problem):
    problems, _ = drills_show_what_they_claim(story(without=without))
    assert any(problem in each for each in problems), problems


def test_a_verdict_that_does_not_follow_is_named():
    made = story()
    made.systems["filing"].of("objective.measured")[0].data["target_seconds"] = 5.0
    assert "whether its RTO was met does not follow" in drills_show_what_they_claim(made)[0][0]


HELD = {"id": "rp-1", "sides": ["source", "dr"], "datasets": [{"dataset": "register", "digest": "sha256:1"}]}


def compared(*told: tuple[str, dict[str, Any]]) -> list[tuple[str, dict[str, str], bool]]:
    events = [event(index, kind, BEGUN, data, "step") for index, (kind, data) in enumerate(told)]
    found = comparisons(SystemStory("filing", {}, [], events))
    return [(each.dataset, dict(each.digests), each.equal) for each in found]


def test_what_a_drill_compared_are_the_sides_at_which_its_point_was_held():
    assert compared(("recovery_point.held", HELD)) == [("register", {"source": "sha256:1", "dr": "sha256:1"}, True)]
    assert compared(("recovery_point.held", HELD | {"sides": ["dr"]})) == []
    sides = {"source": {"digest": "sha256:2"}, "cloud": {"digest": "sha256:3"}}
    own = ("digests.compared", {"dataset": "register", "match": False, "sides": sides})
    different = [("register", {"source": "sha256:2", "cloud": "sha256:3"}, False)]
    assert compared(("recovery_point.held", HELD), own) == different, "a step that compares speaks for the run"
