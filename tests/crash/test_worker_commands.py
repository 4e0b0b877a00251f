"""skerry worker: one on a file, several on a shared database; what it refuses; and who is seen to carry runs."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.postgres_server import running_postgres

ESTATE = Path(__file__).parents[1] / "good_inventories" / "small"
SKERRY = [sys.executable, "-c", "import sys; from orchestrator.cli.app import main; sys.exit(main())"]


class Machine:
    """A home, and the processes that were started with it."""

    def __init__(self, home: Path, database: str = "") -> None:
        self.environment = {**os.environ, "SKERRY_HOME": str(home), "SKERRY_INVENTORY": str(ESTATE)}
        self.environment |= {"SKERRY_DATABASE": database} if database else {}
        self.workers: list[subprocess.Popen[str]] = []

    def worker(self, *words: str) -> "subprocess.Popen[str]":
        command = [*SKERRY, "worker", "--json", *words]
        process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.workers.append(process)
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line, process.stderr.read()
        assert "up" in json.loads(line)
        return process

    def skerry(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*SKERRY, *words], env=self.environment, capture_output=True, text=True, check=False)

    def listed(self) -> list[dict[str, object]]:
        told = self.skerry("worker", "list", "--json")
        assert told.returncode == 0, told.stderr
        found: list[dict[str, object]] = json.loads(told.stdout)["workers"]
        return found

    def end(self) -> None:
        for process in self.workers:
            process.kill()
            process.communicate()


def test_on_a_file_a_second_worker_is_refused_and_the_first_is_listed_until_it_ends(tmp_path):
    machine = Machine(tmp_path / "home")
    try:
        assert machine.listed() == []
        first = machine.worker()
        refused = machine.skerry("worker", "--json")
        assert refused.returncode == 44
        error = json.loads(refused.stderr)
        assert (error["error"], str(first.pid) in error["message"]) == ("RunInProgress", True)
        (listed,) = machine.listed()
        assert (listed["pid"], listed["lives"], listed["deeds"]) == (first.pid, True, 0)
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=60) == 0
        assert machine.listed() == []
    finally:
        machine.end()


@pytest.mark.platform("postgresql")
def test_on_a_shared_database_workers_of_several_machines_stand_beside_each_other(tmp_path):
    with running_postgres() as server:
        url = server.new_database()
        one, other = Machine(tmp_path / "one", url), Machine(tmp_path / "other", url)
        try:
            first = one.worker("--dead-seconds", "5")
            alone = other.skerry("worker", "--json")
            assert alone.returncode == 50
            assert "has not the keys of the log" in json.loads(alone.stderr)["message"]
            bring_keys(tmp_path / "one" / "ledger", tmp_path / "other" / "ledger")
            second = other.worker("--dead-seconds", "5")
            assert {each["pid"] for each in one.listed()} == {first.pid, second.pid}
            assert other.skerry("runs", "list", "--json").stdout == '{"runs": []}\n'
            second.send_signal(signal.SIGTERM)
            assert second.wait(timeout=60) == 0
            assert [each["pid"] for each in other.listed()] == [first.pid]
        finally:
            one.end()
            other.end()


def bring_keys(source: Path, target: Path) -> None:
    target.mkdir(parents=True, mode=0o700, exist_ok=True)
    subprocess.run(["cp", "-a", *source.glob("vkey*"), source / "private", target], check=True)


def test_the_dead_limit_is_for_shared_databases_and_not_below_what_is_safe(tmp_path):
    machine = Machine(tmp_path / "home")
    alone = machine.skerry("worker", "--dead-seconds", "9", "--json")
    assert (alone.returncode, "--database" in json.loads(alone.stderr)["hint"]) == (2, True)
    machine.environment["SKERRY_DATABASE"] = "postgresql://nobody@127.0.0.1:1/none"
    hasty = machine.skerry("worker", "--dead-seconds", "1", "--json")
    assert (hasty.returncode, "the least is 5 s" in json.loads(hasty.stderr)["message"]) == (2, True)
    nowhere = machine.skerry("worker", "list", "--json")
    assert (nowhere.returncode, json.loads(nowhere.stderr)["error"]) == (75, "EngineUnavailable")
    assert json.loads(nowhere.stderr)["message"].startswith("postgresql://nobody@127.0.0.1:1/none: connection failed")
