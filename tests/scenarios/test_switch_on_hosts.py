"""One system's life on real hosts: out, home, half-way and back, lost and found, while clients file all the time.

Everything is the real command, in processes of its own.
"""

import fcntl
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.lab import estate_town
from tests.scenarios.office import Office, open_office

pytestmark = [
    pytest.mark.platform("hosts"),
    pytest.mark.platform("rsync"),
    pytest.mark.platform("postgresql"),
    pytest.mark.timeout(1800),
]

SOURCE, CLOUD = "onprem-filing1", "cloud-filing1"


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    with open_office(filings=80, documents=30) as here:
        here.skerry("survey")
        made = here.skerry("plan", "make", "filing", "--wave", "first", "--as", "ben", "--set", "watch=2s")
        here.skerry("approve", made["digest"], *here.key("ana"))
        assert here.state(here.skerry("run", made["digest"], "--as", "ben")) == "committed"
        yield here


def test_home_again_brings_everything_that_was_written_at_the_cloud(office: Office) -> None:
    office.await_filings(site="cloud")
    assert office.state(office.switch("failback", "--set", "watch=2s")) == "committed"
    office.await_filings(site="onprem")
    office.nothing_is_lost()


def test_a_source_that_restarts_while_it_has_authority_serves_again_once_somebody_has_looked(office: Office) -> None:
    office.skerry("replicate", "run", "filing", "--as", "ben")  # whoever replicates guards, too
    office.town.power_off(SOURCE)
    office.town.power_on(SOURCE)
    assert not office.is_active(SOURCE, "filing-db")
    row = next(row for row in office.skerry("starts", "filing", "--look")["starts"] if row["host"] == SOURCE)
    assert row["waits"]
    row = next(row for row in office.skerry("starts", "filing")["starts"] if row["host"] == SOURCE)
    assert (row["permitted"], row["running"]) == (True, ["filing-app", "filing-db"])
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
    assert under_way.stdout is not None
    # Nobody reads what it tells until it is dead, and the pipe is soon full: that must not hold it up.
    fcntl.fcntl(under_way.stdout, fcntl.F_SETPIPE_SZ, 4096)
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
    seen: list[tuple[str, ...]] = []
    while time.monotonic() < until:
        for run in office.skerry("runs", "list")["runs"]:
            if run["plan"] == plan:
                steps = office.skerry("runs", "show", run["run"])["systems"][0]["steps"]
                seen = [(each["step"], each["mode"], each["state"]) for each in steps]
                if (step, "do", "done") in seen:
                    return str(run["run"])
        time.sleep(0.5)
    raise AssertionError(f"{step} was not reached: {seen[-3:]}")


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

    # Nobody could fence it. A guard that stood there before keeps all of it from starting, also by hand.
    office.town.power_on(SOURCE)
    for unit in ("filing-db", "filing-app"):
        office.town.run_inside(SOURCE, ["systemctl", "start", unit], check=False)
        assert not office.is_active(SOURCE, unit)
    rows = {(row["side"], row["host"]): row for row in office.skerry("starts", "filing")["starts"]}
    assert rows["source", SOURCE]["guarded"]
    assert (rows["source", SOURCE]["permitted"], rows["source", SOURCE]["running"]) == (False, [])
    assert rows["cloud", CLOUD]["holds_authority"]
    digest = next(
        word
        for word in office.skerry("failback", "filing", "--as", "ben", code=41)["message"].split()
        if word.startswith("sha256:")
    )
    office.skerry("approve", digest, *office.key("ana"))
    refused = office.skerry("failback", "filing", "--as", "ben", code=61)
    assert "may hold writes that are nowhere else" in refused["message"]
    office.await_filings(site="cloud")
