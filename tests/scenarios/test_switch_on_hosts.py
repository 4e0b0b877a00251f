"""One system's life on real hosts: out, home, half-way and back, lost and found, while clients file all the time.

Everything is the real command, in processes of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.lab import estate_town
from orchestrator.lab.demo import town_plan
from orchestrator.lab.town import Town, open_town

pytestmark = [
    pytest.mark.platform("hosts"),
    pytest.mark.platform("rsync"),
    pytest.mark.platform("postgresql"),
    pytest.mark.timeout(1800),
]

ROOT = Path(__file__).resolve().parents[2]
WORDS = "import sys; from orchestrator.cli.app import main; sys.exit(main())"
COMMAND_SECONDS_MAX = 600.0
SOURCE, CLOUD = "onprem-filing1", "cloud-filing1"


@dataclass
class Office:
    """A home with a lab in it, and the command line."""

    home: Path
    town: Town

    def begin(self, *words: str, home: Path | None = None) -> "subprocess.Popen[str]":
        environment = {**os.environ, "SKERRY_HOME": str(home or self.home)}
        line = [sys.executable, "-c", WORDS, *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(line, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)

    def skerry(self, *words: str, code: int | None = 0, home: Path | None = None) -> dict[str, Any]:
        """What the command answers, or what it complains of where another code than 0 is expected."""
        process = self.begin(*words, "--json", home=home)
        out, err = process.communicate(timeout=COMMAND_SECONDS_MAX)
        assert code is None or process.returncode == code, (words, process.returncode, out[-3000:], err[-3000:])
        text = err.splitlines()[-1] if process.returncode else out if "\n{" not in out.strip() else out.splitlines()[-1]
        return {"exit_code": process.returncode, **json.loads(text)} if text.strip() else {}

    def key(self, person: str) -> list[str]:
        return ["--as", person, "--key", str(self.home / "lab" / "people" / person)]

    def switch(self, kind: str, *words: str, code: int = 0) -> dict[str, Any]:
        """Ask for a switch, have its plan approved, and let it run."""
        refused = self.skerry(kind, "filing", "--as", "ben", *words, code=41)
        digest = next(word for word in refused["message"].split() if word.startswith("sha256:"))
        self.skerry("approve", digest, *self.key("ana"))
        return self.skerry(kind, "filing", "--as", "ben", *words, code=code)

    def state(self, status: dict[str, Any]) -> str:
        return str(status["systems"][0]["state"])

    def await_filings(self, count: int = 5, *, site: str) -> None:
        """Clients are served, at that site."""
        began, until = time.time(), time.monotonic() + 120
        while True:
            told = town_plan.traffic_report(self.town, from_time=began)["filing"]
            if told["acknowledged"] >= count:
                assert set(told["by_site"]) == {site}, told["by_site"]
                return
            assert time.monotonic() < until, told
            time.sleep(0.3)

    def nothing_is_lost(self) -> None:
        told = town_plan.traffic_report(self.town)["filing"]
        assert (told["lost"], told["duplicates_differing"]) == (0, 0), told

    def is_active(self, host: str, unit: str) -> bool:
        return self.town.run_inside(host, ["systemctl", "is-active", unit], check=False).text == "active"


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    with tempfile.TemporaryDirectory(prefix="sk", ignore_cleanup_errors=True) as folder:
        here = Office(Path(folder), open_town(Path(folder) / "lab"))
        try:
            here.skerry("lab", "up", "--filings", "80", "--documents", "30")
            town_plan.traffic_start(here.town)
            here.skerry("survey")
            made = here.skerry("plan", "make", "filing", "--wave", "first", "--as", "ben", "--set", "watch=2s")
            here.skerry("approve", made["digest"], *here.key("ana"))
            assert here.state(here.skerry("run", made["digest"], "--as", "ben")) == "committed"
            yield here
        finally:
            here.skerry("lab", "down", "--purge", code=None)


def test_home_again_brings_everything_that_was_written_at_the_cloud(office: Office) -> None:
    office.await_filings(site="cloud")
    assert office.state(office.switch("failback", "--set", "watch=2s")) == "committed"
    office.await_filings(site="onprem")
    office.nothing_is_lost()


def test_out_again_and_replication_runs_home_from_then_on(office: Office) -> None:
    status = office.switch("cutover", "--set", "watch=2s")
    assert office.state(status) == "committed"
    office.await_filings(site="cloud")
    office.nothing_is_lost()
    asked = "select status || ' ' || pg_is_in_recovery() from pg_stat_wal_receiver"
    words = ["su", "-", "postgres", "-c", f'/usr/lib/postgresql/15/bin/psql -XAtqc "{asked}"']
    told = office.town.run_inside(SOURCE, words, check=False)
    if told.exit_code == 0:
        assert told.text == "streaming true"
    account = next(step for step in status["systems"][0]["steps"] if step["step"] == "account")["observed"]
    assert account["complete"]
    assert account["business"]["passed"]


def test_a_source_that_restarts_finds_itself_fenced(office: Office) -> None:
    office.town.power_off(SOURCE)
    office.town.power_on(SOURCE)
    for unit in ("filing-app", "filing-mail"):
        office.town.run_inside(SOURCE, ["systemctl", "start", unit], check=False)
        assert not office.is_active(SOURCE, unit)
    office.await_filings(site="cloud")
    office.nothing_is_lost()


def test_a_move_that_is_killed_after_the_switch_is_rolled_back_from_another_machine(office: Office) -> None:
    home = ["--set", "from=cloud", "--set", "to=source"]
    assert office.state(office.switch("cutover", *home, "--set", "watch=2s")) == "committed"
    words = ["--set", "watch=40s"]
    digest = next(
        word
        for word in office.skerry("cutover", "filing", "--as", "ben", *words, code=41)["message"].split()
        if word.startswith("sha256:")
    )
    office.skerry("approve", digest, *office.key("ana"))
    under_way = office.begin("cutover", "filing", "--as", "ben", *words, "--json")
    try:
        run = await_step(office, digest, "follow_back")
    finally:
        under_way.send_signal(signal.SIGKILL)
        under_way.communicate()
    office.await_filings(site="cloud")
    with tempfile.TemporaryDirectory(prefix="sk") as folder:
        # What a backup of the home has, at another place; the lab's hosts stay where they are.
        elsewhere = Path(folder)
        for entry in office.home.iterdir():
            if entry.name in ("lab", "run"):
                continue
            if entry.is_dir():
                shutil.copytree(entry, elsewhere / entry.name)
            else:
                shutil.copy2(entry, elsewhere / entry.name)
        (elsewhere / "lab").symlink_to(office.home / "lab")
        asked = ("rollback", run, "--as", "ben", "--because", "the machine is gone", "--yes")
        status = office.skerry(*asked, home=elsewhere)
        assert office.state(status) == "rolled_back"
        office.await_filings(site="onprem")
        office.nothing_is_lost()
        assert office.skerry("evidence", "verify", home=elsewhere)["verified"] is True
        # The old machine must not go on with what it remembers: its state is replaced by the newer one.
        for name in ("state.db", "engine.db"):
            for part in (name, f"{name}-wal", f"{name}-shm"):
                (office.home / part).unlink(missing_ok=True)
                if (elsewhere / part).exists():
                    shutil.copy2(elsewhere / part, office.home / part)
        shutil.rmtree(office.home / "ledger")
        shutil.copytree(elsewhere / "ledger", office.home / "ledger")


def await_step(office: Office, plan: str, step: str) -> str:
    """The run of `plan`, once `step` has passed in it."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        for run in office.skerry("runs", "list")["runs"]:
            if run["plan"] == plan:
                steps = office.skerry("runs", "show", run["run"])["systems"][0]["steps"]
                if any((each["step"], each["mode"], each["state"]) == (step, "do", "done") for each in steps):
                    return str(run["run"])
        time.sleep(0.5)
    raise AssertionError(f"{step} was not reached")


def test_a_source_that_is_lost_and_found(office: Office) -> None:
    """What had reached DR is all there; what only the lost side may hold is not overwritten unasked."""
    office.nothing_is_lost()
    estate_town.traffic_stop(office.town)
    office.skerry("replicate", "run", "filing", "--as", "ben")
    office.town.power_off(SOURCE)
    digest = next(
        word
        for word in office.skerry("failover", "filing", "--as", "ben", code=41)["message"].split()
        if word.startswith("sha256:")
    )
    office.skerry("approve", digest, *office.key("ana"))
    refused = office.skerry("failover", "filing", "--as", "ben", code=61)
    assert "nobody has seen that source is stopped" in refused["message"]
    because = ["--because", "its power is off; I pulled the plug"]
    office.skerry("word", "filing", "--down", "source", *office.key("ana"), *because)
    assert office.state(office.skerry("failover", "filing", "--as", "ben")) == "committed"
    estate_town.traffic_start(office.town)
    office.await_filings(site="cloud")
    office.nothing_is_lost()

    office.town.power_on(SOURCE)
    digest = next(
        word
        for word in office.skerry("failback", "filing", "--as", "ben", code=41)["message"].split()
        if word.startswith("sha256:")
    )
    office.skerry("approve", digest, *office.key("ana"))
    refused = office.skerry("failback", "filing", "--as", "ben", code=61)
    assert "may hold writes that are nowhere else" in refused["message"]
    office.await_filings(site="cloud")
