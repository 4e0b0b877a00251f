"""By when a run that waits must have gone on is told to whoever looks, and only where it counts."""

import json

import pytest

from orchestrator.cli.app import main
from orchestrator.cli.runs import due_text
from orchestrator.engine.store import open_store
from orchestrator.engine.worker_store import WorkerStore
from orchestrator.foundation.clock import SystemClock
from orchestrator.model.action import Commit, SwitchFront
from orchestrator.model.outcome import Outcome
from orchestrator.model.site import Side
from orchestrator.model.step import Deadline, Phase
from orchestrator.operations.deadlines import with_deadlines
from tests.fakes.plans import a_plan, a_step


@pytest.fixture
def switched(tmp_path, monkeypatch):
    """A run whose clients were switched a moment ago; it must be committed within an hour."""
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path))
    store = open_store(f"sqlite:///{tmp_path / 'state.db'}")
    switch = a_step("switch_front", SwitchFront(side=Side.CLOUD))
    commit = a_step("commit", Commit(side=Side.CLOUD), needs=("switch_front",)).model_copy(
        update={"phase": Phase.COMMIT, "not_later_than": Deadline(after="switch_front", seconds=3600)}
    )
    store.runs.submit("run-1", a_plan((switch, commit), systems=("filing",)), kind="migrate", operator="ana")
    rows = WorkerStore(store.database, SystemClock())
    rows.begin_step("run-1", "filing", "switch_front", "do", attempt=1, worker="w")
    done = Outcome.done("filing.test is 10.0.0.1")
    rows.finish_step("run-1", "filing", "switch_front", "do", starts=1, state="done", outcome=done, seconds=1.0)
    yield store
    store.close()


def test_the_deadline_of_the_commit_is_told_in_words_and_as_json(switched, capsys):
    assert main(["runs", "show", "run-1", "--json"]) == 0
    (system,) = json.loads(capsys.readouterr().out)["systems"]
    finished, due = system["steps"][0]["finished_at"], system["due"]
    assert (due["step"], due["at"][14:]) == ("commit", finished[14:]), "an hour later"
    assert due["at"] > finished
    assert main(["runs", "show", "run-1"]) == 0
    assert f"commit by {due['at']}, else all is rolled back" in capsys.readouterr().out


def test_one_that_has_passed_says_so():
    assert "has passed" in due_text({"due": {"step": "commit", "at": "2026-01-01T00:00:00.000Z"}})


@pytest.mark.parametrize("state", ["failed", "rolling_back", "committed", "rolled_back"])
def test_where_a_person_decides_or_it_is_over_no_deadline_counts(state):
    def unread():
        raise AssertionError("the plan is not needed")

    run = {"systems": [{"system": "filing", "state": state, "steps": []}]}
    assert with_deadlines(run, unread)["systems"][0]["due"] is None
