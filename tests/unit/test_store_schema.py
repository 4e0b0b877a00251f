"""An older store is brought up to date when it is opened, and keeps its rows."""

import sqlite3

from orchestrator.engine.store import open_store
from orchestrator.model.action import Preflight
from tests.fakes.plans import a_plan, a_step

STEPS = (a_step("look", Preflight()),)


def test_a_store_without_newer_tables_and_columns_gets_them(tmp_path):
    url = f"sqlite:///{tmp_path}/state.db"
    store = open_store(url)
    store.runs.submit("run-1", a_plan(STEPS), kind="migrate", operator="ana")
    store.close()
    older = sqlite3.connect(tmp_path / "state.db")
    older.execute("alter table runs drop column worker")
    older.execute("drop table turns")
    older.execute("drop table schema_number")
    older.commit()
    older.close()

    store = open_store(url)
    assert store.runs.status("run-1").systems[0].state == "waiting"
    store.runs.submit("run-2", a_plan(STEPS, systems=("archive",)), kind="migrate", operator="ana")
    store.close()
    newer = sqlite3.connect(tmp_path / "state.db")
    assert newer.execute("select run, worker from runs order by run").fetchall() == [("run-1", ""), ("run-2", "")]
    assert newer.execute("select count(*) from turns").fetchone() == (0,)
    newer.close()


def test_opening_twice_changes_nothing(tmp_path):
    url = f"sqlite:///{tmp_path}/state.db"
    for _ in range(2):
        open_store(url).close()
    store = open_store(url)
    assert store.runs.list() == []
    store.close()
