"""Drills on real hosts that must fail or are cut off: every inject, and kill -9 in every phase.

Killed are skerry, the bubble's first process, and what erases it. Each time: no bubble is left, the hosts show what
they showed before, and the next drill works.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import pytest

from orchestrator.hosts.bubbles import ROOT as BUBBLES
from orchestrator.hosts.bubbles import HostBubbles
from orchestrator.hosts.ssh import SshTransports, open_transports
from orchestrator.lab.demo.units import ATTACHMENTS
from orchestrator.model.drill import INJECTS
from orchestrator.model.host import Host
from orchestrator.model.names import Name
from tests.scenarios import commands
from tests.scenarios.commands import Begun, Told, begin
from tests.scenarios.test_trouble import Ground, a_lab, on_hosts

pytestmark = [*on_hosts, pytest.mark.platform("namespaces")]
HERE = "dr-filing1"
SOURCE = "onprem-filing1"
UNITS = cast("list[Name]", ["filing-db", "filing-app"])
SECONDS_MAX = 120.0
NETWORKS = "for each in $(pgrep {}); do readlink /proc/$each/ns/net; done | sort -u"
# What the drill says when a phase begins, and what is to be seen on the host before somebody is killed in it.
PHASES = {
    "open": ("opening a bubble", f"ls {BUBBLES}/*/note.json"),
    "prove": ("trying to reach production", "true"),
    "start": ("starting filing in the bubble", f"[ $({NETWORKS.format('postgres')} | wc -l) = 2 ]"),
    "checks": ("asking the checks", "true"),
    "back": ("carrying back", f"ls {BUBBLES}/*/note.json"),
    "close": ("closing the bubble", "true"),
}


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with a_lab() as made:
        made.survey()
        for number in range(2):  # a replica can be behind where something changed
            (made.town.path_on_machine(SOURCE, ATTACHMENTS) / f"more-{number}").write_text("more")
            made.good("replicate", "run", "filing", "--as", "ben")
        yield made


@pytest.fixture(scope="module")
def transports(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshTransports]:
    with open_transports(ground.town.ssh_config, tmp_path_factory.mktemp("run")) as opened:
        yield opened


@pytest.fixture
def bubbles(transports: SshTransports) -> HostBubbles:
    return HostBubbles(transports)


def host(ground: Ground, name: str = HERE) -> Host:
    return ground.town.hosts()[name]


def sh(ground: Ground, words: str) -> str:
    return ground.town.run_inside(HERE, ["sh", "-c", words], check=False).stdout.decode().strip()


def shown(ground: Ground, bubbles: HostBubbles) -> dict[str, Mapping[str, str]]:
    return {name: bubbles.shown(host(ground, name), UNITS) for name in (SOURCE, HERE)}


def drilling(ground: Ground, phase: str) -> Begun:
    """A drill that has come so far, by its own words and by what its host shows."""
    words, seen = PHASES[phase]
    begun = begin(ground.home, "drill", "bubble", "filing", "--as", "ben")
    await_said(begun, words)
    until(lambda: ground.town.run_inside(HERE, ["sh", "-c", seen], check=False).exit_code == 0, begun)
    return begun


def await_said(begun: Begun, words: str) -> None:
    until(lambda: words in begun.streams[1].read_text(), begun)


def until(condition: Callable[[], bool], begun: Begun) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert begun.process.poll() is None, begun.end()
        assert time.monotonic() < deadline, begun.streams[1].read_text()
        time.sleep(0.01)


def next_drill(ground: Ground) -> None:
    """It works; that the point has grown older than the objective meanwhile is no matter here."""
    told = ground.skerry("drill", "bubble", "filing", "--as", "ben")
    found: dict[str, Any] = json.loads(told.stdout)
    assert found["operational_at"], told.stderr
    assert (found["isolated"], found["production_changed"]) == (True, [])
    assert found["left"] == {"processes": [], "mounts": [], "files": [], "machines": []}
    assert [each["dataset"] for each in found["carried_back"]] == ["register", "attachments"]
    assert [why for why in found["why_not"] if not why.startswith("RPO missed")] == []


def left(ground: Ground, bubbles: HostBubbles) -> list[str]:
    """Bubbles, what they had mounted, and units of theirs beside the host's own."""
    mounts = sh(ground, f"grep {BUBBLES} /proc/self/mountinfo")
    spaces = sh(ground, NETWORKS.format("-f filing-app"))
    return [*bubbles.listed(host(ground)), *mounts.splitlines(), *spaces.splitlines()[1:]]


def await_nothing(ground: Ground, bubbles: HostBubbles) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while found := left(ground, bubbles):
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


@pytest.mark.parametrize("phase", PHASES)
def test_skerry_killed_leaves_no_bubble_and_the_next_drill_works(
    ground: Ground, bubbles: HostBubbles, phase: str
) -> None:
    before = shown(ground, bubbles)
    begun = drilling(ground, phase)
    begun.process.send_signal(signal.SIGKILL)
    assert begun.end().exit_code == -signal.SIGKILL
    if phase in ("start", "back"):  # nobody comes: its lease ends it
        await_nothing(ground, bubbles)
    next_drill(ground)
    assert left(ground, bubbles) == []
    assert shown(ground, bubbles) == before


@pytest.mark.parametrize("phase", ["start", "checks", "back"])
def test_a_bubble_whose_first_process_was_killed_fails_the_drill_and_leaves_nothing(
    ground: Ground, bubbles: HostBubbles, phase: str
) -> None:
    before = shown(ground, bubbles)
    told = ended(ground, drilling(ground, phase), "keeper")
    assert told.exit_code == 61, told.stdout + told.stderr
    await_nothing(ground, bubbles)
    next_drill(ground)
    assert shown(ground, bubbles) == before


def test_without_the_process_that_erases_the_drill_erases_it_itself(ground: Ground, bubbles: HostBubbles) -> None:
    told = ended(ground, drilling(ground, "start"), "reaper")
    assert "left behind" in told.stdout
    assert left(ground, bubbles) == []
    next_drill(ground)


def ended(ground: Ground, begun: Begun, who: str) -> Told:
    """How the drill ends whose process of the bubble is killed."""
    assert sh(ground, f"cd {BUBBLES}/* && kill -9 $(sed 's/.*\"{who}\": \\([0-9]*\\).*/\\1/' note.json) && echo killed")
    return begun.end()


def test_a_clean_up_that_fails_is_reported_as_failed(ground: Ground, bubbles: HostBubbles) -> None:
    begun = drilling(ground, "start")
    assert sh(ground, f"cd {BUBBLES}/* && mkdir stuck && mount -t tmpfs stuck stuck && pwd").startswith(BUBBLES)
    told = begun.end()
    assert told.exit_code == 61
    assert "the bubble left something behind" in told.stderr
    assert f"{BUBBLES}/" in told.stderr
    sh(ground, f"umount {BUBBLES}/*/stuck")
    next_drill(ground)


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_takes_the_bubble_away_and_says_so(ground: Ground, bubbles: HostBubbles, phase: str) -> None:
    before = shown(ground, bubbles)
    begun = drilling(ground, phase)
    begun.process.send_signal(signal.SIGINT)
    told = begun.end()
    assert told.exit_code == 130, told.stdout + told.stderr
    assert "cut off in its bubble; nothing of it is left" in told.stderr
    assert left(ground, bubbles) == []
    next_drill(ground)
    assert shown(ground, bubbles) == before


@pytest.mark.parametrize("inject", INJECTS)
def test_every_inject_is_found_and_named_on_hosts(ground: Ground, inject: str) -> None:
    found = json.loads(ground.skerry("drill", "bubble", "filing", "--as", "ben", "--inject", inject).stdout)
    assert found["found"], found["why_not"]
    assert [why for why in found["why_not"] if not why.startswith("RPO missed")] == []
    row = next(row for row in ground.good("drill", "injects", "filing")["injects"] if row["inject"] == inject)
    assert row["proved_by"] == found["id"]


def test_a_run_that_was_killed_in_its_bubble_goes_on_with_the_same_command(
    ground: Ground, bubbles: HostBubbles
) -> None:
    words = ("drill", "run", "filing", "--as", "ben")
    refused = ground.skerry(*words)
    digest = next(word for word in refused.error["message"].split() if word.startswith("sha256:"))
    ground.approve(digest)
    begun = begin(ground.home, *words, "--json")
    await_bubble(ground, bubbles, begun)
    begun.process.send_signal(signal.SIGKILL)
    begun.end()
    begun = begin(ground.home, *words, "--json")
    run = await_step(ground, "passed", begun)
    refused = ground.skerry("runs", "ask", "confirm", run, "--step", "passed", "--as", "ben", "--because", "mine")
    assert "whoever runs a drill does not judge it" in refused.error["message"]
    ground.good("runs", "ask", "confirm", run, "--step", "passed", "--as", "carla", "--because", "seen")
    told = begun.end()
    assert told.exit_code == 0, told.stderr
    assert left(ground, bubbles) == []


def test_ctrl_c_in_the_bubble_of_a_run_takes_it_away_and_says_so(ground: Ground, bubbles: HostBubbles) -> None:
    words = ("drill", "run", "filing", "--as", "ben", "--point", "latest_app_consistent")
    refused = ground.skerry(*words)
    ground.approve(next(word for word in refused.error["message"].split() if word.startswith("sha256:")))
    begun = begin(ground.home, *words, "--json")
    await_bubble(ground, bubbles, begun)
    begun.process.send_signal(signal.SIGINT)
    told = begun.end()
    assert (told.exit_code, told.error["message"]) == (130, f"interrupted; nothing of a bubble is left on {HERE}")
    assert left(ground, bubbles) == []
    begun = begin(ground.home, *words, "--json")
    await_bubble(ground, bubbles, begun)
    ground.good("runs", "ask", "confirm", await_step(ground, "passed", begun), "--step", "passed", "--as", "carla",
                "--because", "seen")  # fmt: skip
    assert begun.end().exit_code == 0


def await_bubble(ground: Ground, bubbles: HostBubbles, begun: Begun) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not bubbles.listed(host(ground)):
        assert begun.process.poll() is None, begun.end()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def await_step(ground: Ground, step: str, begun: Begun) -> str:
    """The newest run, once somebody is asked at that step."""
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        run: dict[str, Any] = ground.good("runs", "list")["runs"][0]
        rows = ground.good("runs", "show", run["run"])["systems"][0]["steps"]
        if any((row["step"], row["state"]) == (step, "waiting") for row in rows):
            return str(run["run"])
        assert begun.process.poll() is None, begun.end()
        time.sleep(0.5)
    pytest.fail(f"nobody was asked at {step}")


def write_letters(ground: Ground, *, encrypted: bool = False) -> None:
    """Into the tree of archive at the source; `encrypted`, in the place of those that are there."""
    documents = ground.town.path_on_machine("onprem-archive1", "/srv/archive/documents")
    for number in range(40):
        letter = documents / f"letter-{number}.txt"
        letter.write_bytes(os.urandom(9000) if encrypted else b"A letter, of many like it. " * 400)
        if encrypted:
            letter.rename(letter.with_suffix(".txt.locked"))


def test_after_ransomware_the_last_clean_point_is_found_and_comes_to_life(ground: Ground) -> None:
    write_letters(ground)
    clean = ground.good("replicate", "run", "archive", "--as", "ben")["round"]["point"]
    write_letters(ground, encrypted=True)
    bad = ground.good("replicate", "run", "archive", "--as", "ben")["round"]["point"]
    ground.good("replicate", "run", "archive", "--as", "ben")
    found = ground.good("drill", "ransomware", "archive", "--as", "ben")
    assert (found["first_bad"], found["last_clean"], found["drill"]["point"]) == (bad, clean, clean)
    [signs] = [each["signs"] for each in found["points"] if each["point"] == bad]
    assert "40 of 40 changed files became noise: letter-0.txt.locked" in signs[0]
    assert found["drill"]["passed"]


def test_a_drill_that_meets_a_cutover_waits(ground: Ground) -> None:
    """The last one here: the system lives at the cloud afterwards."""
    words = ("cutover", "filing", "--as", "ben", "--set", "watch=5s")
    digest = next(word for word in ground.skerry(*words).error["message"].split() if word.startswith("sha256:"))
    ground.approve(digest)
    drill = drilling(ground, "start")
    refused = ground.skerry(*words)
    assert (refused.exit_code, f"process {drill.process.pid} carries" in refused.stderr) == (44, True)
    drill.end()
    cutover = begin(ground.home, *words)
    commands.await_step(ground.home, "filing", "fence_old")
    drill = begin(ground.home, "drill", "bubble", "filing", "--as", "ben")
    await_said(drill, f"waiting: process {cutover.process.pid} carries")
    told = cutover.end()
    assert told.exit_code == 0, told.stdout + told.stderr
    assert "not tried" not in drill.end().stdout
    assert ground.skerry("drill", "bubble", "filing", "--as", "ben", "--wait", "0s").exit_code in (0, 61)
