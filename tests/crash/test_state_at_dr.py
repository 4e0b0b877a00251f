"""The state lives at the DR site too: its PostgreSQL stands by there, and when the source site is lost all goes on."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from orchestrator.engine.store import open_store
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.verify_log import own_keys, verify_log
from orchestrator.foundation.clock import SystemClock
from orchestrator.model.event import RunEvent
from tests.crash.test_engine_takeover import STEPS_EACH, SYSTEMS, Workers, await_committed, chain
from tests.fakes.plans import a_plan
from tests.fakes.postgres_server import BINARIES, PostgresServer, running_postgres

pytestmark = pytest.mark.platform("postgresql")


class Standby:
    """A synchronous standby of a server, as PostgreSQL keeps one at another site."""

    def __init__(self, primary: PostgresServer, folder: Path) -> None:
        self.folder = folder
        self._user = "postgres" if os.geteuid() == 0 else None
        folder.mkdir()
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        source = ("-h", str(primary.folder), "-U", "skerry")
        self._run("pg_basebackup", *source, "-D", f"{folder}/data", "-R", "-c", "fast")
        options = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=200"
        self._run("pg_ctl", "-D", f"{folder}/data", "-o", options, "-w", "start")

    def promote(self) -> None:
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-w", "promote")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder)

    def _run(self, program: str, *words: str) -> None:
        command = [str(BINARIES / program), *words]
        quiet = subprocess.DEVNULL
        subprocess.run(command, check=True, stdout=quiet, user=self._user, cwd="/", env={"LC_ALL": "C.UTF-8"})


def psql(folder: Path, words: str) -> str:
    command = [str(BINARIES / "psql"), "-h", str(folder), "-U", "skerry", "-d", "postgres", "-Atc", words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_with_the_source_site_dead_runs_and_ledger_go_on_at_dr_and_nothing_is_done_twice(tmp_path):
    with running_postgres() as server:
        url = server.new_database()
        standby = Standby(server, Path(f"{server.folder}-dr"))
        try:
            psql(server.folder, "alter system set synchronous_standby_names = '*'")
            psql(server.folder, "select pg_reload_conf()")
            deadline = time.monotonic() + 30
            while psql(server.folder, "select sync_state from pg_stat_replication") != "sync":
                assert time.monotonic() < deadline
                time.sleep(0.1)
            there = Workers(url, tmp_path)
            store = open_store(url)
            first = there.start()
            store.runs.submit("run-1", a_plan(chain(STEPS_EACH), systems=SYSTEMS), kind="migrate", operator="ana")
            written = told(store, tmp_path / "source-ledger", "before")
            there.await_effects(20)
            first.send_signal(signal.SIGKILL)
            first.wait()
            store.close()
            server.stop("immediate")
            standby.promote()
            psql(standby.folder, "alter system set synchronous_standby_names = ''")
            psql(standby.folder, "select pg_reload_conf()")

            there.url = url.partition("host=")[0] + f"host={standby.folder}"
            here = open_store(there.url)
            there.start()
            await_committed(here)
            assert set(there.effects().values()) == {1}
            assert len(there.effects()) == len(SYSTEMS) * STEPS_EACH
            # The machine at DR has the log's keys, and nothing else of it.
            (tmp_path / "dr-ledger").mkdir()
            for path in [*(tmp_path / "source-ledger").glob("vkey*"), tmp_path / "source-ledger" / "private"]:
                subprocess.run(["cp", "-a", path, tmp_path / "dr-ledger"], check=True)
            assert told(here, tmp_path / "dr-ledger", "after") > written
            events = [json.loads(entry)["data"].get("moment") for entry in here.ledger.entries(0, limit=99)]
            assert [each for each in events if each] == ["before", "after"]
            assert verify_log(tmp_path / "dr-ledger", vkeys=own_keys(tmp_path / "dr-ledger")).verified
            here.close()
            there.end()
        finally:
            standby.stop()


def told(store, folder, moment):
    """An entry of the shared ledger, from a machine whose copy is in `folder`; its place."""
    recorder = open_recorder(
        folder, origin="evidence.example/dr", source="urn:test", clock=SystemClock(), shared=store.ledger
    )
    about = {"type": "step.probed", "run": "run-9", "at": "2026-11-21T22:18:00.000Z"}
    at = recorder.record(RunEvent(**about, data={"moment": moment}))
    recorder.close()
    return at
