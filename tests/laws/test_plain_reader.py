"""The plain reader shows exactly what the store shows, and answers where there is no store yet."""

import json

import pytest

from orchestrator.contracts.engine import RunStatus
from orchestrator.contracts.progress import Progress
from orchestrator.engine.doing import Doing
from orchestrator.engine.plain_reader import PlainReader
from orchestrator.engine.plain_store import ReadOnlyCatalogue, ReadOnlyRuns
from orchestrator.engine.server_reader import ServerReader
from orchestrator.engine.store import open_store
from orchestrator.engine.worker_store import WorkerStore
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import EngineUnavailable, UsageError
from orchestrator.model.action import Preflight
from orchestrator.model.outcome import Outcome
from orchestrator.model.site import Side
from tests.fakes.plans import a_plan, a_step

STEPS = (a_step("look", Preflight()), a_step("act", Preflight(), needs=["look"]))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "odd #% name" / "state.db"


@pytest.fixture
def store(path):
    store = open_store(f"sqlite:///{path}")
    yield store
    store.close()


@pytest.fixture
def filled(store):
    """Three runs; the first with steps done, failed and under way, and with something asked."""
    rows = WorkerStore(store.database, SystemClock())
    for number in range(3):
        plan = a_plan(STEPS, systems=(f"alpha-{number}", f"beta-{number}"), wave=f"wave-{number}")
        store.runs.submit(f"run-{number}", plan, kind="migrate", operator="ana")
        store.catalogue.put("plan", plan.digest, plan.model_dump(mode="json"))
    rows.begin_step("run-0", "alpha-0", "look", "do", attempt=1, worker="w")
    done = Outcome.done("seen", hosts=3, detail={"a": [1, None, "ü"]})
    rows.finish_step("run-0", "alpha-0", "look", "do", starts=1, state="done", outcome=done, seconds=1.25)
    rows.begin_step("run-0", "alpha-0", "act", "do", attempt=1, worker="w")
    doing = Doing(store.database)
    doing.progress("run-0", "alpha-0", "act", Progress(dataset="register", bytes_done=3, bytes_total=9))
    doing.progress("run-0", "alpha-0", "look", Progress(dataset="register", text="it is over"))
    doing.write_news()
    rows.begin_step("run-0", "beta-0", "look", "do", attempt=2, worker="w")
    failed = Outcome.failed("no", error="HostUnreachable", hint="look there", retryable=True)
    rows.finish_step("run-0", "beta-0", "look", "do", starts=1, state="failed", outcome=failed, seconds=0.5)
    rows.set_system_state("run-0", "beta-0", "failed", "look: no", holds=True)
    store.runs.request("run-0", "alpha-0", "pause", by="ana", reason="lunch")
    return store


def test_a_run_is_shown_as_the_store_shows_it(filled, path):
    reader = PlainReader(path)
    for run in ("run-0", "run-1"):
        assert reader.run(run) == filled.runs.status(run).model_dump(mode="json")
    look, act = reader.run("run-0")["systems"][0]["steps"]
    assert (look["doing"], act["doing"]["bytes_done"]) == (None, 3)
    assert reader.run("run-0")["systems"][1]["steps"][0]["hint"] == "look there"
    assert RunStatus.model_validate(reader.run("run-0")) == filled.runs.status("run-0")


def test_runs_are_listed_as_the_store_lists_them(filled, path):
    for limit in (2, 100):
        listed = [status.model_dump(mode="json") for status in filled.runs.list(limit=limit)]
        assert PlainReader(path).runs(limit=limit) == listed
    plan = filled.runs.list()[-1].plan
    listed = [status.model_dump(mode="json") for status in filled.runs.list(plan=plan)]
    assert PlainReader(path).runs(limit=100, plan=plan) == listed


def test_documents_and_authority_are_those_of_the_store(filled, path):
    reader = PlainReader(path)
    filled.catalogue.put("approval", "sha256:A/ana", {"n": 1})
    filled.catalogue.put("approval", "sha256:a/ana", {"n": 2})
    for kind, prefix in (("plan", ""), ("approval", ""), ("approval", "sha256:A/"), ("facts", "")):
        assert reader.documents(kind, prefix=prefix) == list(filled.catalogue.list(kind, prefix=prefix))
    key = filled.catalogue.list("plan")[0][0]
    assert reader.document("plan", key) == filled.catalogue.get("plan", key)
    assert reader.document("plan", "nowhere") is None
    filled.authority.move("alpha-0", expected_number=1, to=Side.CLOUD, key="k")
    assert reader.authority(["alpha-0", "alpha-1"]) == {"alpha-0": ("cloud", 2)}


def test_what_only_reads_gives_the_same_values_and_writes_nothing(filled, path):
    reader = PlainReader(path)
    runs, catalogue = ReadOnlyRuns(reader), ReadOnlyCatalogue(reader)
    assert runs.status("run-0") == filled.runs.status("run-0")
    assert runs.list(limit=2) == filled.runs.list(limit=2)
    assert runs.plan("run-1") == filled.runs.plan("run-1")
    assert catalogue.list("plan") == filled.catalogue.list("plan")
    with pytest.raises(UsageError, match="there is no run run-9"):
        runs.plan("run-9")
    for write in (
        lambda: runs.submit("run-9", runs.plan("run-1"), kind="migrate", operator="ana"),
        lambda: runs.request("run-0", "", "pause", by="ana", reason="lunch"),
        lambda: catalogue.put("plan", "x", {}),
        lambda: catalogue.drop("plan", "x"),
    ):
        with pytest.raises(UsageError, match="cannot be written by a command that only reads"):
            write()


def test_plans_are_told_in_short(filled, path):
    newest = PlainReader(path).plans(limit=1)
    plan = a_plan(STEPS, systems=("alpha-2", "beta-2"), wave="wave-2")
    assert newest == [
        {
            "digest": plan.digest,
            "wave": "wave-2",
            "author": "ben",
            "runbook": "made-up 1",
            "systems": ["alpha-2", "beta-2"],
            "bytes_expected": 0,
        }
    ]


def test_a_run_is_found_by_the_beginning_of_its_id(filled, path):
    reader = PlainReader(path)
    assert reader.run_ids("run-1") == ["run-1"]
    assert len(reader.run_ids("run-")) == 2
    assert reader.run_ids("RUN-") == []
    with pytest.raises(UsageError, match="there is no run run-9"):
        reader.run("run-9")


def test_where_there_is_no_store_there_is_nothing_and_none_is_made(tmp_path):
    path = tmp_path / "nowhere" / "state.db"
    reader = PlainReader(path)
    assert reader.is_current
    assert (reader.runs(limit=5), reader.plans(limit=5)) == ([], [])
    assert (reader.documents("plan"), reader.run_ids("r")) == ([], [])
    assert reader.document("plan", "x") is None
    assert not path.parent.exists()


def test_an_older_store_is_left_to_those_who_bring_it_up_to_date(tmp_path, store, path):
    assert PlainReader(path).is_current
    with store.database.writing() as connection:
        connection.exec_driver_sql("update schema_number set number = 2")
    assert not PlainReader(path).is_current


def test_a_file_that_is_no_database_is_told_by_name(tmp_path):
    path = tmp_path / "state.db"
    path.write_text(json.dumps({"not": "a database"}) * 100)
    with pytest.raises(EngineUnavailable, match="state.db: file is not a database"):
        PlainReader(path).runs(limit=1)


def test_the_reader_of_a_shared_database_tells_the_same(filled, path):
    plain, server = PlainReader(path), ServerReader(f"sqlite:///{path}")
    try:
        plan = plain.run("run-0")["plan"]
        for ask in (
            lambda reader: reader.runs(limit=5),
            lambda reader: reader.run("run-0"),
            lambda reader: reader.run_ids("run-1"),
            lambda reader: reader.plan_of("run-0"),
            lambda reader: reader.plans(limit=5),
            lambda reader: reader.document("plan", plan),
            lambda reader: reader.documents("plan", limit=2),
            lambda reader: reader.authority(["alpha-0"]),
        ):
            assert ask(server) == ask(plain)
    finally:
        server.close()
