"""Drills on real hosts that must fail or are cut off: every inject, and kill -9 in every phase.

Killed are skerry, the bubble's first process, and what erases it. Each time: no bubble is left, the hosts show what
they showed before, and the next drill works.
"""

import json
import signal
import time
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest

from orchestrator.hosts.bubbles import ROOT as BUBBLES
from orchestrator.hosts.bubbles import HostBubbles
from orchestrator.hosts.ssh import SshTransports, open_transports
from orchestrator.lab.demo.units import ATTACHMENTS
from orchestrator.model.drill import INJECTS
from orchestrator.model.host import Host
from orchestrator.model.names import Name
from tests.scenarios.commands import Begun, Told, begin
from tests.scenarios.test_trouble import Ground, a_lab, on_hosts

pytestmark = [*on_hosts, pytest.mark.platform("namespaces")]
HERE = "dr-filing1"
SOURCE = "onprem-filing1"
UNITS = cast("list[Name]", ["filing-db", "filing-app"])
SECONDS_MAX = 120.0
# What the drill says when a phase begins, and how long after that somebody is killed.
PHASES = {
    "open": ("opening a bubble", 0.3),
    "prove": ("opening a bubble", 1.3),
    "start": ("starting filing in the bubble", 0.2),
    "checks": ("starting filing in the bubble", 0.6),
    "back": ("carrying back", 0.5),
    "close": ("closing the bubble", 0.05),
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
    """A drill that has come so far."""
    words, seconds = PHASES[phase]
    begun = begin(ground.home, "drill", "bubble", "filing", "--as", "ben")
    errors, deadline = begun.streams[1], time.monotonic() + SECONDS_MAX
    said = ""
    while words not in said:
        assert begun.process.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.02)
        said = errors.read_text()
    time.sleep(seconds)
    return begun


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
    spaces = sh(ground, "for each in $(pgrep -f filing-app); do readlink /proc/$each/ns/net; done | sort -u")
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
