"""The way back on real hosts while a move waits for its commit: kept open by nobody's command, and given up on a word.

Everything is the real command, in processes of its own; clients file all the time.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.lab.demo import town_plan
from orchestrator.lab.demo.units import ATTACHMENTS
from tests.scenarios.office import Office, open_office

pytestmark = [
    pytest.mark.platform("hosts"),
    pytest.mark.platform("rsync"),
    pytest.mark.platform("postgresql"),
    pytest.mark.timeout(1800),
]

SOURCE, DR, CLOUD = "onprem-filing1", "dr-filing1", "cloud-filing1"
SECONDS_MAX = 180.0


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    with open_office(filings=80, documents=30) as here:
        here.skerry("survey")
        yield here


def waiting(office: Office, wave: str) -> str:
    """A move of filing to the cloud that pauses before its commit; its run."""
    made = office.skerry("plan", "make", "filing", "--wave", wave, "--as", "ben", "--set", "watch=2s")
    office.skerry("approve", made["digest"], *office.key("ana"))
    status = office.skerry("cutover", made["digest"], "--as", "ben")
    assert office.state(status) == "paused"
    return str(status["run"])


def path_of(office: Office, host: str, name: str) -> Path:
    return office.town.path_on_machine(host, f"{ATTACHMENTS}/{name}")


def until(come: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + SECONDS_MAX
    while not (found := come()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.2)
    return found


def carrier(office: Office) -> int:
    """The process that carries the runs of this home; 0 where none does."""
    workers = office.skerry("worker", "list")["workers"]
    return int(workers[0]["pid"]) if workers else 0


def rounds(office: Office) -> list[dict[str, Any]]:
    return list(office.skerry("replicate", "history", "filing")["rounds"])


def written_at_the_cloud(office: Office, name: str) -> Path:
    """Where it will be at the source."""
    path_of(office, CLOUD, name).write_bytes(os.urandom(4096))
    return path_of(office, SOURCE, name)


def test_what_is_written_after_the_watch_comes_home_before_the_commit_by_nobody_s_command(office: Office) -> None:
    run = waiting(office, "held")
    caretaker = until(lambda: carrier(office), "a caretaker")
    home = written_at_the_cloud(office, "after-the-watch")
    until(home.exists, "what was written at the cloud is at the source")
    assert {each["by"] for each in rounds(office)} == {"skerry"}
    assert office.skerry("replicate", "status", "filing", code=None)["systems"]

    # It dies in a round, and whoever comes next goes on.
    until(lambda: any(each["result"] == "running" for each in rounds(office)), "a round under way")
    os.kill(caretaker, signal.SIGKILL)
    home = written_at_the_cloud(office, "after-the-kill")
    until(lambda: not carrier(office), "it is gone")
    served = office.begin("serve", "--every", "1")  # as after a reboot
    until(home.exists, "what was written meanwhile is at the source")
    served.send_signal(signal.SIGINT)
    _, told = served.communicate(timeout=60)
    assert f"process {carrier(office)} carries what waits for its commit" in told
    assert "broken_off" in {each["result"] for each in rounds(office)}

    # Somebody asks for the way back while it is at it: it makes room, and nothing comes late.
    status = office.skerry("rollback", run, "--as", "ben", "--because", "as a test", "--yes")
    assert office.state(status) == "rolled_back"
    office.await_filings(site="onprem")
    late = path_of(office, SOURCE, "written-at-home")
    late.write_bytes(b"home")
    time.sleep(20)  # a beat and more: nobody brings anything from the cloud any more
    assert late.read_bytes() == b"home"
    assert carrier(office) == 0
    office.nothing_is_lost()
    assert office.skerry("evidence", "verify")["verified"] is True


def test_a_way_back_that_cannot_carry_everything_home_needs_a_signed_word(office: Office) -> None:
    run = waiting(office, "given-up")
    office.await_filings(site="cloud")
    office.town.power_off(DR)
    asked = ("rollback", run, "--as", "ben", "--because", "the cloud must be left", "--yes")
    refused = office.skerry(*asked, code=61)
    assert "inverse of promote" in refused["message"]
    assert "--accept-loss cloud" in refused["hint"]
    because = ("--because", "DR is down for days, and the cloud must be left now")
    word = office.skerry("word", "filing", "--accept-loss", "cloud", *office.key("ana"), *because, "--yes")["word"]
    assert word["account"]["bytes"] > 0
    office.skerry(*asked, code=None)  # as far as it comes without DR
    office.await_filings(site="onprem")
    office.town.power_on(DR)
    office.town.run_inside(DR, ["systemctl", "start", "filing-db"])  # as hosts do where the unit is enabled
    status = office.skerry(*asked, code=None)
    told = office.skerry("runs", "show", run)
    assert office.state(told) == "rolled_back", status
    assert lost(office) > 0, "what was given up"
    assert office.skerry("evidence", "verify")["verified"] is True


def lost(office: Office) -> int:
    """Acknowledged filings that are nowhere any more."""
    return int(town_plan.traffic_report(office.town)["filing"]["lost"])


def test_ctrl_c_lets_a_move_go_on_where_that_was_asked(office: Office) -> None:
    made = office.skerry("plan", "make", "filing", "--wave", "let-go", "--as", "ben", "--set", "watch=2s")
    office.skerry("approve", made["digest"], *office.key("ana"))
    given_up = lost(office)  # on the word of the test before
    begun = office.begin("run", made["digest"], "--as", "ben", "--on-interrupt", "go-on", "--json")

    def known() -> list[str]:
        return [each["run"] for each in office.skerry("runs", "list")["runs"] if each["plan"] == made["digest"]]

    [run] = until(known, "it is on record")
    until(lambda: "recovery_point" in steps_begun(office, run), "the recovery point")
    begun.send_signal(signal.SIGINT)
    _, complaint = begun.communicate(timeout=120)
    assert begun.returncode == 130
    assert "goes on with what is under way" in complaint
    until(lambda: office.skerry("runs", "show", run)["state"] == "finished", "it is over")
    told = office.skerry("runs", "show", run)
    assert office.state(told) == "committed"
    assert all(step["result"] == "passed" for step in told["systems"][0]["steps"])
    assert lost(office) == given_up
    until(lambda: not carrier(office), "nobody is needed any more")


def steps_begun(office: Office, run: str) -> set[str]:
    return {step["step"] for step in office.skerry("runs", "show", run)["systems"][0]["steps"]}
