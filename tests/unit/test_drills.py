"""Drills at their times: planned, approved, begun once, carried on, and kept; over the product's engine and ledger."""

import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.evidence.told_surroundings import scope_rows
from orchestrator.foundation.errors import GateClosed, InventoryError, PlanningError, RunInProgress, UsageError
from orchestrator.foundation.written_file import Finding
from orchestrator.model.drill import DrillCalendar, Injected
from orchestrator.operations.drills import (
    DRILLS_FILE,
    DrillBook,
    drill_named,
    kept_fires,
    one_at_a_time,
    plan_drill,
    read_drills,
)
from orchestrator.planning.drill_file import parse_drill_file
from tests.fakes.surveys import healthy
from tests.fakes.wave_desk import ShiftedClock, SimulatedWaveDesk, an_estate_with_keys

RUNBOOKS = Path(__file__).resolve().parents[2] / "runbooks"
HOURLY = """\
drills:
  schedule:
    - {drill: first, systems: [s0], cron: "0 * * * *", time_zone: UTC, operator: ben, late_by: 2h}
    - {drill: second, systems: [s1], cron: "0 * * * *", time_zone: UTC, operator: ben, tenant: office}
    - {drill: third, systems: [s2], cron: "0 * * * *", time_zone: UTC, operator: ben, tenant: office}
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """The keys of people; beside them the runbooks, of which the drill's does not let production settle."""
    folder = tmp_path_factory.mktemp("keys")
    shutil.copytree(RUNBOOKS, folder / "runbooks")
    written = runbook_in(folder).read_text()
    assert "settle: {default: 5s" in written
    runbook_in(folder).write_text(written.replace("settle: {default: 5s", "settle: {default: 0s"))
    return folder


def runbook_in(keys: Path) -> Path:
    return keys / "runbooks" / "drill.yml"


@pytest.fixture(scope="module")
def estate(keys):
    return an_estate_with_keys(3, keys)


class SetHour(ShiftedClock):
    """Starts ten minutes before a full hour."""

    def __init__(self) -> None:
        super().__init__()
        real = super().now()
        self.ahead = real.replace(minute=50, second=0, microsecond=0) - real


@pytest.fixture
def desk(estate, tmp_path, monkeypatch):
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "home"))
    found = SimulatedWaveDesk(estate, clock=SetHour())
    yield found
    found.close()


def calendar_of(text: str, estate) -> DrillCalendar:
    findings: list[Finding] = []
    calendar = parse_drill_file(text.encode(), "drills.yml", estate, findings)
    assert calendar is not None, findings
    return calendar


def book_of(desk, estate, text: str = HOURLY, injected=None) -> DrillBook:
    return DrillBook(desk, calendar_of(text, estate), injected or found_at_once)


def found_at_once(system, drill) -> Injected:
    return Injected(system=system, inject=drill.injects[0], drill="d1", found=f"{system} is broken")


def planned(book: DrillBook, keys, *names: str) -> None:
    for name in names:
        drill = drill_named(book.calendar, name)
        facts = healthy(book.desk.inventory)
        plan = plan_drill(book.desk, drill, runbook_file=runbook_in(keys), author="ben", facts=facts)
        book.desk.approve(plan, person="ana", role="system-owner", key_file=str(keys / "ana"))


def later(desk, **span) -> None:
    desk.clock.ahead += timedelta(**span)


def states(desk, drill: str = "") -> list[tuple[str, str]]:
    return [(fire.drill, fire.state) for fire in kept_fires(desk.catalogue, drill)]


def say_passed(desk, drill: str) -> None:
    """The evaluator says yes."""
    run = kept_fires(desk.catalogue, drill)[0].run
    desk.runs.request(run, "", "confirm", by="ana", reason="seen", step="passed")


def test_a_drill_begins_at_its_time_waits_for_its_evaluator_and_passes(desk, estate, keys):
    book = book_of(desk, estate)
    planned(book, keys, "first")
    assert book.look() == []
    later(desk, minutes=11)
    assert [fire.state for fire in book.look() if fire.drill == "first"] == ["running"]
    book.carry()
    assert ("first", "running") in states(desk)
    run = kept_fires(desk.catalogue, "first")[0].run
    waiting = [row.step for system in desk.runs.status(run).systems for row in system.steps if row.state == "waiting"]
    assert waiting == ["passed"]
    say_passed(desk, "first")
    assert [fire.state for fire in book.carry()] == ["passed"]
    assert book.look() == []
    assert len(kept_fires(desk.catalogue, "first")) == 1


def passed_run(desk, book, keys) -> None:
    """The run of `first` at its hour, with its evaluator's yes."""
    planned(book, keys, "first")
    book.look()
    later(desk, minutes=11)
    book.look()
    book.carry()
    say_passed(desk, "first")


def test_a_drill_passes_when_its_inject_was_found_and_says_which(desk, estate, keys):
    book = book_of(desk, estate)
    passed_run(desk, book, keys)
    [fire] = book.carry()
    assert (fire.state, [each.inject for each in fire.injected]) == ("passed", ["corrupted_block"])
    assert kept_fires(desk.catalogue, "first")[0].injected == fire.injected


@pytest.mark.parametrize("came", [{"found": ""}, {"found": "named", "why_not": "production changed meanwhile"}])
def test_a_run_that_passed_is_no_drill_that_passed_where_its_inject_was_not_found(desk, estate, keys, came):
    def put(system, drill):
        return Injected(system=system, inject="slow_disk", drill="d1", **{"why_not": "nothing named it", **came})

    book = book_of(desk, estate, injected=put)
    passed_run(desk, book, keys)
    [fire] = book.carry()
    assert fire.state == "failed"
    assert fire.because.startswith("s0: ")


def test_an_inject_waits_for_whoever_has_the_ledger_and_is_put_in_once(desk, estate, keys):
    tries = []

    def put(system, drill):
        tries.append(system)
        if len(tries) == 1:
            raise RunInProgress("another process carries runs")
        return found_at_once(system, drill)

    book = book_of(desk, estate, injected=put)
    passed_run(desk, book, keys)
    assert book.carry() == []
    assert [fire.state for fire in book.carry()] == ["passed"]
    assert book.carry() == []
    assert len(tries) == 2


def test_reading_the_history_puts_nothing_in(desk, estate, keys):
    book = book_of(desk, estate)
    passed_run(desk, book, keys)
    with desk.worker() as worker:
        worker.start()
        worker.await_finished(kept_fires(desk.catalogue, "first")[0].run)
        worker.stop()
    assert book.settle() == []
    assert states(desk, "first") == [("first", "running")]


def test_what_nobody_planned_or_approved_is_refused_aloud(desk, estate, keys):
    book = book_of(desk, estate)
    book.look()
    drill = drill_named(book.calendar, "second")
    plan_drill(desk, drill, runbook_file=runbook_in(keys), author="ben", facts=healthy(desk.inventory))
    later(desk, minutes=11)
    told = {fire.drill: (fire.state, fire.because) for fire in book.look()}
    assert told["first"][0] == told["second"][0] == "refused"
    assert "nobody planned it: skerry drill plan first" in told["first"][1]
    assert "0 of 1" in told["second"][1]


def test_two_drills_of_one_tenant_run_one_after_the_other(desk, estate, keys):
    book = book_of(desk, estate)
    planned(book, keys, "second", "third")
    book.look()
    later(desk, minutes=11)
    told = {fire.drill: (fire.state, fire.because) for fire in book.look()}
    assert told["second"][0] == "running"
    assert told["third"] == ("due", "drill second of office is under way")
    book.carry()
    say_passed(desk, "second")
    book.carry()
    assert [(fire.drill, fire.state) for fire in book.look()] == [("third", "running")]


def test_a_drill_waits_for_whoever_holds_its_system_and_is_missed_in_the_end(desk, estate, keys):
    book = book_of(desk, estate)
    planned(book, keys, "first")
    book.look()
    plan = book.allowed_plan(drill_named(book.calendar, "first"))
    desk.runs.submit("01900000-0000-7000-8000-000000000001", plan, kind="cutover", operator="ben")
    later(desk, minutes=11)
    [fire] = [fire for fire in book.look() if fire.drill == "first"]
    assert (fire.state, fire.run) == ("due", "")
    assert "s0 is held by run 01900000-0000-7000-8000-000000000001 (cutover)" in fire.because
    later(desk, hours=3)
    book.look()
    assert [state for _, state in states(desk, "first")] == ["due", "missed", "missed", "missed"]


def test_a_time_comes_up_once_whoever_looks_and_however_often(desk, estate, keys):
    book = book_of(desk, estate)
    planned(book, keys, "first")
    book.look()
    later(desk, minutes=11)
    book.look()
    runs = {fire.run for fire in kept_fires(desk.catalogue, "first")}
    later(desk, minutes=-11)
    assert book.look() == []
    later(desk, minutes=12)
    assert book.look() == []
    assert {fire.run for fire in kept_fires(desk.catalogue, "first")} == runs
    assert len(desk.runs.list()) == 1


def test_a_process_that_ended_before_it_asked_for_the_run_leaves_a_time_that_is_begun_again(desk, estate, keys):
    book = book_of(desk, estate)
    planned(book, keys, "first")
    book.look()
    later(desk, minutes=11)
    book.look()
    [fire] = kept_fires(desk.catalogue, "first")
    lost = fire.model_copy(update={"run": "01900000-0000-7000-8000-00000000dead", "drill": "second"})
    desk.catalogue.put("drill_fire", lost.id, lost.model_dump(mode="json"))
    assert [(each.drill, each.state, each.run) for each in book.settle()] == [("second", "due", "")]


def test_a_run_that_fails_is_a_drill_that_failed(desk, estate, keys):
    book = book_of(desk, estate)
    planned(book, keys, "first")
    begun = book.begin_now(drill_named(book.calendar, "first"))
    book.carry()
    desk.runs.request(begun.run, "", "reject", by="ana", reason="the totals differ", step="passed")
    [fire] = book.carry()
    assert fire.state == "failed"
    assert "the totals differ" in fire.because


def test_asking_for_a_drill_that_cannot_begin_leaves_nothing_behind(desk, estate, keys):
    book = book_of(desk, estate)
    with pytest.raises(GateClosed, match="nobody planned it"):
        book.begin_now(drill_named(book.calendar, "first"))
    planned(book, keys, "first")
    book.begin_now(drill_named(book.calendar, "first"))
    later(desk, seconds=1)
    with pytest.raises(RunInProgress, match="s0 is held by run"):
        book.begin_now(drill_named(book.calendar, "first"))
    assert states(desk) == [("first", "running")]


def test_an_edited_calendar_brings_no_old_times(desk, estate, keys):
    book_of(desk, estate).look()
    later(desk, minutes=5)
    edited = book_of(desk, estate, HOURLY.replace('"0 * * * *"', '"*/5 * * * *"'))
    assert edited.look() == []


def test_nobody_looks_while_another_looks(tmp_path, monkeypatch):
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "home"))
    other = threading.Thread(target=_look)
    with one_at_a_time():
        other.start()
        other.join(0.2)
        assert other.is_alive()
    other.join(30)
    assert not other.is_alive()


def _look() -> None:
    with one_at_a_time():
        pass


@pytest.mark.parametrize(
    ("wrong", "line", "message"),
    [
        (('cron: "0 * * * *"', 'cron: "0 * * *"'), 3, "five fields"),
        (("time_zone: UTC", "time_zone: Mars/Base"), 3, "no time zone is called 'Mars/Base'"),
        (("systems: [s0]", "systems: [s00]"), 3, "no system is called s00; did you mean 's0'?"),
        (("operator: ben", "operator: bem"), 3, "no person is called bem; did you mean 'ben'?"),
        (("late_by: 2h", "late_bye: 2h"), 3, "unknown key 'late_bye'; did you mean 'late_by'?"),
        (("drill: second", "drill: first"), 4, "drill first is there twice"),
        (("drills:\n", "drils:\n"), 1, "unknown key 'drils'; did you mean 'drills'?"),
    ],
)
def test_what_is_wrong_in_the_calendar_is_told_with_its_line(tmp_path, estate, wrong, line, message):
    file = tmp_path / DRILLS_FILE
    file.parent.mkdir(parents=True)
    file.write_text(HOURLY.replace(wrong[0], wrong[1], 1))
    with pytest.raises(InventoryError) as caught:
        read_drills(tmp_path, estate)
    assert any(text.startswith(f"{file}:{line}: ") and message in text for text in caught.value.message.splitlines())


def test_a_drill_that_is_not_there(estate):
    with pytest.raises(UsageError, match=r"no drill is called firts; did you mean 'first'\?"):
        drill_named(calendar_of(HOURLY, estate), "firts")


def test_the_clock_of_these_tests_stands_before_the_hour():
    assert SetHour().now().minute in (50, 51)
    assert SetHour().now() > datetime(2026, 1, 1, tzinfo=UTC)


PEOPLED = """\
drills:
  schedule:
    - {drill: first, systems: [s0], cron: "0 * * * *", time_zone: UTC, operator: ben, participants: [ana, ben],
       observers: [ana], announced: false}
"""


def test_who_takes_part_and_whether_it_is_announced_is_part_of_the_plan(desk, estate, keys):
    book = book_of(desk, estate, PEOPLED)
    planned(book, keys, "first")
    plan = book.allowed_plan(book.calendar.drills[0])
    assert plan.scope is not None
    assert [(each.role, each.who) for each in plan.scope.participants] == [
        (estate.people[name].roles[0], estate.people[name].name or name) for name in ("ana", "ben")
    ]
    assert scope_rows(plan.model_dump(mode="json"))[-1] == ("Announced", "no")
    other = book_of(desk, estate, PEOPLED.replace("[ana, ben]", "[ana]"))
    with pytest.raises(PlanningError, match="tells of other people than the calendar names now"):
        other.allowed_plan(other.calendar.drills[0])


def test_whoever_takes_part_must_be_known(estate):
    findings: list[Finding] = []
    parse_drill_file(PEOPLED.replace("observers: [ana]", "observers: [karla]").encode(), "drills.yml", estate, findings)
    assert ["no person is called karla" in str(each) for each in findings] == [True]
