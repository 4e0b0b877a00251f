"""What a host does with orders that come late, twice or at once: playbooks/files/fence.py as it is sent to hosts."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "playbooks" / "files" / "fence.py"
TOO_LATE = 3
# Enough of systemctl for a unit that is stopped, enabled and of a package.
SYSTEMCTL = """#!/bin/sh
case "$1" in
    show) echo LoadState=loaded; echo ActiveState=inactive; echo UnitFileState=enabled ;;
esac
"""


class OneHost:
    def __init__(self, folder: Path) -> None:
        self.prefix = folder / "host"
        self.programs = folder / "bin"
        self.programs.mkdir()
        (self.programs / "systemctl").write_text(SYSTEMCTL)
        (self.programs / "systemctl").chmod(0o755)

    def words(self, do: str, number: int, ticket: int) -> list[str]:
        asked = {
            "do": do,
            "prefix": str(self.prefix),
            "system": "filing",
            "number": number,
            "ticket": ticket,
            "side": "source",
            "at": "2026-11-21T23:00:00.000Z",
            "services": [{"name": "filing-app", "port": 1, "address": "127.0.0.1"}],
            "databases": [],
        }
        return [sys.executable, str(PROGRAM), json.dumps(asked)]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}"}

    def order(self, do: str, number: int, ticket: int) -> int:
        words = self.words(do, number, ticket)
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode in (0, TOO_LATE), done.stderr
        return done.returncode

    @property
    def fenced(self) -> bool:
        return (self.prefix / "etc/skerry/fence/filing.json").exists()


@pytest.fixture
def host(tmp_path):
    return OneHost(tmp_path)


def test_an_unfence_that_comes_late_does_not_lift_the_fence_of_the_way_back(host):
    """The way out unfenced the cloud under number 2, and the way back fenced it again, under number 2 as well."""
    assert host.order("fence", 2, 5) == 0
    assert host.order("unfence", 2, 17) == 0
    assert host.order("fence", 2, 23) == 0
    assert host.order("unfence", 2, 17) == TOO_LATE
    assert host.fenced


def test_a_fence_that_comes_late_does_not_take_down_a_side_that_serves_again(host):
    assert host.order("fence", 1, 5) == 0
    assert host.order("unfence", 3, 9) == 0
    assert host.order("fence", 1, 5) == TOO_LATE
    assert host.order("fence", 3, 8) == TOO_LATE
    assert not host.fenced


def test_a_higher_number_is_newer_whatever_the_tickets_say(host):
    """A store that was lost counts tickets from the beginning; the number is what holders are told apart by."""
    assert host.order("fence", 4, 900) == 0
    assert host.order("unfence", 5, 1) == 0
    assert host.order("fence", 4, 901) == TOO_LATE
    assert not host.fenced


def test_the_same_order_twice_is_one(host):
    for _ in range(2):
        assert host.order("fence", 2, 5) == 0
    for _ in range(2):
        assert host.order("unfence", 2, 6) == 0
    assert not host.fenced


def test_an_order_that_was_cut_off_is_taken_up_by_the_next_attempt(host):
    """The process that lifted the fence died between its word and the deed."""
    assert host.order("fence", 2, 5) == 0
    lifted = {"number": 2, "ticket": 6, "side": "source", "at": ""}
    (host.prefix / "etc/skerry/fence/filing.lifted").write_text(json.dumps(lifted))
    assert host.fenced
    assert host.order("unfence", 2, 7) == 0
    assert not host.fenced


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_of_orders_at_once_the_newest_holds(host, seed):
    orders = [("fence" if ticket % 2 else "unfence", 2, ticket) for ticket in range(1, 8)]
    random.Random(seed).shuffle(orders)
    running = [subprocess.Popen(host.words(*order), env=host.environment, stdout=-1, stderr=-1) for order in orders]
    for process in running:
        process.communicate()
        assert process.returncode in (0, TOO_LATE)
    assert host.fenced  # 7 is odd
    assert host.order("unfence", 2, 6) == TOO_LATE
