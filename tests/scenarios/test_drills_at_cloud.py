"""Filing is drilled at the cloud by the command line: its machine is made, comes to life in a bubble, and is ended."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.hosts.bubbles import ROOT as BUBBLES
from orchestrator.steps.bubble_elsewhere import FOLDER
from tests.scenarios.commands import begin
from tests.scenarios.test_drills_on_hosts import await_step
from tests.scenarios.test_trouble import Ground, a_lab, on_hosts

pytestmark = [*on_hosts, pytest.mark.platform("namespaces")]
WORDS = ("drill", "run", "filing", "--as", "ben", "--at", "cloud")
MACHINE = "cloud-filing1"
SECONDS_MAX = 120.0


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with a_lab() as made:
        made.survey()
        refused = made.skerry(*WORDS)
        made.approve(next(word for word in refused.error["message"].split() if word.startswith("sha256:")))
        yield made


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def in_bubble(ground: Ground) -> bool:
    if MACHINE not in ground.town.hosts():
        return False
    return ground.town.run_inside(MACHINE, ["sh", "-c", f"ls {BUBBLES}/*/note.json"], check=False).exit_code == 0


def test_a_drill_that_is_killed_in_its_bubble_at_the_cloud_goes_on_and_ends_its_machine(ground: Ground) -> None:
    begun = begin(ground.home, *WORDS, "--json")
    until(lambda: in_bubble(ground))
    # What DR holds was brought from there into the folder of drills, and is nowhere else on the machine.
    assert ground.town.run_inside(MACHINE, ["ls", FOLDER]).exit_code == 0
    begun.process.send_signal(signal.SIGKILL)
    begun.end()
    begun = begin(ground.home, *WORDS, "--json")
    run = await_step(ground, "passed", begun)
    assert MACHINE not in ground.town.hosts()
    assert ground.good("cloud", "orphans")["orphans"] == []
    ground.good("runs", "ask", "confirm", run, "--step", "passed", "--as", "carla", "--because", "seen")
    told = begun.end()
    assert told.exit_code == 0, told.stderr
    status: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    steps = {each["step"]: each["observed"] for each in status["systems"][0]["steps"]}
    shown = steps["bubble"]
    assert (shown["isolated"], shown["left_behind"], shown["production_changed"]) == (True, False, 0)
    assert set(shown["carried_back"]) == {"register", "attachments"}
    assert set(shown["measured_seconds"]) == {"rto", "rpo", "mtpd"}
    assert list(steps["end_machine"]["ended"]) == [MACHINE]


def test_one_that_fails_in_its_bubble_ends_its_machine(ground: Ground) -> None:
    begun = begin(ground.home, *WORDS, "--json")
    until(lambda: in_bubble(ground))
    note = f"cd {BUBBLES}/* && kill -9 $(sed 's/.*\"keeper\": \\([0-9]*\\).*/\\1/' note.json)"
    ground.town.run_inside(MACHINE, ["sh", "-c", note])
    told = begun.end()
    assert told.exit_code == 62, told.stderr
    assert MACHINE not in ground.town.hosts()
    assert ground.good("cloud", "orphans")["orphans"] == []
