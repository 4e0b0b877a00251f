"""A finding stays open until the review of a later, passed drill closes it; gaps in a drill schedule are found."""

import json
from datetime import UTC, datetime, timedelta

from orchestrator.evidence.corrective_actions import corrective_actions
from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.population import RunOfLog, as_table, drill_gaps, population, sample
from orchestrator.evidence.reading.tables import table
from orchestrator.evidence.statements import REVIEW, Envelope, Statement

FINDING = {"id": "F1", "text": "slow", "action": "mend", "owner": "ana", "due": "2027-01-31"}


class Log:
    """Events of several runs, and the envelopes that they refer to."""

    def __init__(self):
        self.events = []
        self.artifacts = {}

    def tell(self, run, type_, **data):
        seq = sum(event.run == run for event in self.events)
        self.events.append(LoggedEvent(len(self.events), run, seq, type_, "2026-11-21T00:00:00Z", "", data))

    def review(self, run, *, findings=(), closes=()):
        said = Statement({f"run:{run}": "00"}, REVIEW, {"findings": list(findings), "closes": list(closes)})
        digest = f"sha256:{len(self.artifacts):064x}"
        self.artifacts[digest] = Envelope(said.payload(), (("k", b"s"),)).text().encode()
        self.tell(run, "review.signed", by="carla", envelope={"digest": digest})

    def finished(self, run, kind, result="passed"):
        self.tell(run, "run.created", kind=kind)
        self.tell(run, "run.finished", result=result)

    @property
    def open(self):
        found = corrective_actions(self.events, self.artifacts.get)
        return [action.id for action in found if action.is_open]


def test_only_a_later_passed_drill_closes_a_finding():
    log = Log()
    log.finished("first", "drill")
    log.review("first", findings=[FINDING], closes=["F1"])
    assert log.open == ["F1"], "not the review that found it"
    log.finished("move", "migrate")
    log.review("move", closes=["F1"])
    assert log.open == ["F1"], "not a run that is no drill"
    log.finished("second", "drill", result="failed")
    log.review("second", closes=["F1"])
    assert log.open == ["F1"], "not a drill that failed"
    log.finished("third", "drill")
    assert log.open == ["F1"], "not a drill without a word about it"
    log.review("third", closes=["F1"])
    assert log.open == []


def drill(finished, system="filing", result="passed"):
    return RunOfLog("r", 0, kind="drill", systems=(system,), finished=finished, result=result)


def test_gaps_in_a_schedule_of_drills_are_found():
    now = datetime(2026, 11, 21, tzinfo=UTC)
    runs = [
        drill("2026-01-10T00:00:00Z"),
        drill("2026-03-01T00:00:00Z"),
        drill("2026-05-01T00:00:00Z", result="failed"),
    ]
    (gap,) = drill_gaps(runs, "filing", timedelta(days=90), now)
    assert "265 days without a passed drill after 2026-03-01" in gap
    assert drill_gaps(runs, "archive", timedelta(days=90), now) == ["archive: no passed drill is on record"]
    assert drill_gaps([*runs, drill("2026-11-01T00:00:00Z")], "filing", timedelta(days=300), now) == []


def entry(run, seq, type_, **data):
    document = {"data": data, "id": f"{run}/{seq}", "run": run, "seq": seq, "source": "u", "specversion": "1.0"}
    document |= {"time": "2026-11-21T00:00:00Z", "type": f"skerry.{type_}.v1"}
    return json.dumps(document, separators=(",", ":")).encode()


def test_a_sample_is_drawn_again_by_whoever_has_the_log_and_the_seed():
    runs = [RunOfLog(f"run-{number}", number, systems=("=cmd", "filing")) for number in range(40)]
    drawn = sample(runs, 5, root="ab", seed="2026")
    assert len(drawn) == 5
    assert drawn == sample(list(reversed(runs)), 5, root="ab", seed="2026")
    assert [run.first_index for run in drawn] == sorted(run.first_index for run in drawn)
    assert drawn != sample(runs, 5, root="ab", seed="2027")
    assert drawn != sample(runs, 5, root="cd", seed="2026")
    assert sample(runs, 99, root="ab", seed="") == runs
    text = table(*as_table(runs, drawn)).decode("utf-8-sig")
    rows = text.split("\r\n")
    assert rows[0].startswith("sampled,run,first_index,")
    assert sum(row.startswith("yes,") for row in rows) == 5
    assert ",=cmd" not in text, "no cell that a spreadsheet would run"


def test_the_population_asks_about_what_an_auditor_would():
    entries = [
        entry("a", 0, "run.created", kind="migrate", plan="p", systems=["filing"], operator="dana"),
        entry("a", 1, "run.started", plan="p"),
        entry("b", 0, "run.created", kind="migrate", plan="p", systems=["filing"], operator="dana"),
        entry("b", 1, "approval.granted", by="ana"),
        entry("b", 2, "run.started", plan="p"),
        entry("b", 3, "run.finished", result="passed"),
    ]
    found = population(enumerate(entries))
    assert [(run.run, run.events, run.result) for run in found.runs] == [("a", 2, "unfinished"), ("b", 4, "passed")]
    assert found.questions == [
        "run a was created and never finished",
        "run a was started without an approval on record",
        "run b was never reviewed",
        "one plan, and so one set of approvals, was run 2 times: a, b",
    ]
