"""The laws of contracts.engine.Runs. Inherit, and give a `runs` fixture."""

import threading

import pytest

from orchestrator.foundation.errors import RunInProgress, UsageError
from orchestrator.model.action import Preflight
from tests.fakes.plans import a_plan, a_step

STEPS = (a_step("look", Preflight()),)


class RunsLaws:
    def test_a_submitted_run_waits_with_all_its_systems(self, runs):
        plan = a_plan(STEPS, systems=("filing", "archive"))
        runs.submit("run-1", plan, kind="migrate", operator="ana")
        status = runs.status("run-1")
        assert (status.run, status.plan, status.wave, status.kind) == ("run-1", plan.digest, "wave-1", "migrate")
        assert (status.operator, status.state) == ("ana", "running")
        assert [(found.system, found.state) for found in status.systems] == [
            ("filing", "waiting"),
            ("archive", "waiting"),
        ]

    def test_the_plan_comes_back_as_it_was(self, runs):
        plan = a_plan(STEPS)
        runs.submit("run-1", plan, kind="migrate", operator="ana")
        assert runs.plan("run-1") == plan
        assert runs.plan("run-1").digest == plan.digest

    def test_submitting_twice_is_once(self, runs):
        for _ in range(2):
            runs.submit("run-1", a_plan(STEPS), kind="migrate", operator="ana")
        assert [found.run for found in runs.list()] == ["run-1"]

    def test_one_run_id_is_one_plan(self, runs):
        runs.submit("run-1", a_plan(STEPS), kind="migrate", operator="ana")
        with pytest.raises(UsageError, match="another plan"):
            runs.submit("run-1", a_plan(STEPS, wave="wave-2"), kind="migrate", operator="ana")

    def test_a_system_under_way_is_refused_to_another_run(self, runs):
        runs.submit("run-1", a_plan(STEPS, systems=("filing", "archive")), kind="migrate", operator="ana")
        with pytest.raises(RunInProgress, match="archive is held by run run-1"):
            runs.submit("run-2", a_plan(STEPS, systems=("ledger", "archive")), kind="migrate", operator="ana")
        # Nothing of the refused run is left: its other system is free.
        runs.submit("run-3", a_plan(STEPS, systems=("ledger",)), kind="migrate", operator="ana")

    def test_of_many_submitters_of_one_system_exactly_one_wins(self, runs):
        won, refused = [], []

        def submit(number):
            try:
                runs.submit(f"run-{number}", a_plan(STEPS), kind="migrate", operator="ana")
                won.append(number)
            except RunInProgress:
                refused.append(number)

        submitters = [threading.Thread(target=submit, args=(number,)) for number in range(6)]
        for submitter in submitters:
            submitter.start()
        for submitter in submitters:
            submitter.join()
        assert (len(won), len(refused)) == (1, 5)

    def test_an_unknown_run_is_a_usage_error(self, runs):
        for ask in (runs.status, runs.plan):
            with pytest.raises(UsageError, match="there is no run nowhere"):
                ask("nowhere")
        with pytest.raises(UsageError, match="there is no run nowhere"):
            runs.request("nowhere", "filing", "rollback", by="ana", reason="")

    def test_a_request_for_an_unknown_system_names_those_there_are(self, runs):
        runs.submit("run-1", a_plan(STEPS, systems=("filing", "archive")), kind="migrate", operator="ana")
        with pytest.raises(UsageError, match="has no system ledger; it has filing, archive"):
            runs.request("run-1", "ledger", "rollback", by="ana", reason="")

    def test_list_is_newest_first_and_limited(self, runs):
        for number in range(3):
            plan = a_plan(STEPS, systems=(f"system-{number}",))
            runs.submit(f"run-{number}", plan, kind="migrate", operator="ana")
        assert [found.run for found in runs.list(limit=2)] == ["run-2", "run-1"]
        oldest = runs.list()[-1]
        assert list(runs.list(limit=1, plan=oldest.plan)) == [oldest], "however many came after it"
        assert list(runs.list(plan="sha256:" + 64 * "0")) == []

    def test_where_to_pause_is_asked_in_the_breath_of_the_submission(self, runs):
        plan = a_plan(STEPS, systems=("filing", "archive"))
        runs.submit("r-1", plan, kind="migrate", operator="ana", pause_before=(STEPS[-1].id,))
        assert runs.status("r-1").requests_open == 2
        runs.submit("r-1", plan, kind="migrate", operator="ana", pause_before=(STEPS[-1].id,))
        assert runs.status("r-1").requests_open == 2

    def test_what_was_asked_is_open_until_a_worker_takes_it_up(self, runs):
        runs.submit("r-1", a_plan(STEPS), kind="migrate", operator="ana")
        assert runs.status("r-1").requests_open == 0
        runs.request("r-1", "", "pause", by="ana", reason="a stage is over")
        assert runs.status("r-1").requests_open == 1
