"""What a host does with orders that come late, twice or at once: the programs as they are sent to hosts, on real files.

playbooks/files/fence.py fences, unfences and heeds; services.py starts; in_order.py opens databases.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.contracts.programs import program_text

ROOT = Path(__file__).resolve().parents[2]
FENCE = ROOT / "playbooks" / "files" / "fence.py"
SERVICES = ROOT / "playbooks" / "files" / "services.py"
IN_ORDER = ROOT / "orchestrator" / "movers" / "host_programs" / "in_order.py"
TOO_LATE = 3
# Says whether somebody holds the lock that is its first word.
IS_HELD = """
import fcntl, sys
try:
    fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("held")
"""
# Enough of systemctl for a unit that is stopped, enabled and of a package.
SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$0.log"
[ "$1" = start ] && [ -n "$WHILE_STARTING" ] && sh -c "$WHILE_STARTING"
case "$1" in
    show) echo LoadState=loaded; echo ActiveState=inactive; echo UnitFileState=enabled ;;
esac
"""


class OneHost:
    def __init__(self, folder: Path) -> None:
        self.prefix = folder / "host"
        self.programs = folder / "bin"
        self.more: dict[str, str] = {}
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
        if do == "start":
            asked |= {"services": [], "databases": [{"name": "filing-db"}]}
        return [sys.executable, "-I", "-S", str(SERVICES if do == "start" else FENCE), json.dumps(asked)]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}", **self.more}

    def order(self, do: str, number: int, ticket: int) -> int:
        words = self.words(do, number, ticket)
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode in (0, TOO_LATE), done.stderr
        assert done.returncode == 0 or "newer than" in done.stderr or "too late" in done.stderr
        return done.returncode

    def in_order(self, number: int, ticket: int, *words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        """As databases are opened: `words` run by an order."""
        asked = {"folder": str(self.folder), "system": "filing", "number": number, "ticket": ticket}
        request = json.dumps(asked | {"words": words, "input": text})
        sent = self.programs / "in_order.py"
        sent.write_bytes(program_text(IN_ORDER))
        program = [sys.executable, "-I", "-S", str(sent), request]
        return subprocess.run(program, env=self.environment, capture_output=True, text=True, check=False)

    def opens(self, number: int, ticket: int) -> bool:
        self.prefix.mkdir(exist_ok=True)
        opened = self.prefix / "opened"
        opened.unlink(missing_ok=True)
        done = self.in_order(number, ticket, "touch", str(opened))
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout.removeprefix("result "))
        assert ("newest" in answer) is not opened.exists()
        return opened.exists()

    @property
    def folder(self) -> Path:
        return self.prefix / "etc/skerry/fence"

    @property
    def starts(self) -> int:
        log = self.programs / "systemctl.log"
        return sum(line.startswith("start") for line in log.read_text().splitlines()) if log.exists() else 0

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


def test_a_fence_that_was_confirmed_is_lifted_by_no_order_from_before(host):
    """A person waived the fence of the way back, and authority is about to leave on the fence of the way out."""
    assert host.order("fence", 2, 5) == 0
    assert host.order("confirm", 2, 23) == 0
    assert host.order("unfence", 2, 17) == TOO_LATE
    assert host.fenced
    assert host.order("confirm", 2, 22) == TOO_LATE
    assert host.order("unfence", 2, 24) == 0


def test_one_that_nobody_counts_looks_at_a_fence_by_its_number_and_changes_no_order(host):
    assert host.order("fence", 2, 21) == 0
    assert host.order("confirm", 2, 0) == 0, "a round outside of a run has no ticket"
    assert host.order("unfence", 2, 20) == TOO_LATE, "the order stands as it was"
    assert host.order("confirm", 1, 0) == TOO_LATE
    assert host.order("unfence", 2, 22) == 0


def test_where_no_fence_stands_none_is_confirmed(host):
    words = host.words("confirm", 2, 5)
    done = subprocess.run(words, env=host.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (1, "no fence of filing stands there")
    assert not host.fenced


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


def test_a_start_that_comes_late_starts_nothing(host):
    """Another worker had finished the move; the side was lost and came back: neither fenced nor serving."""
    assert host.order("fence", 2, 5) == 0
    assert host.order("unfence", 2, 8) == 0
    assert host.order("start", 2, 9) == 0
    assert host.starts == 1
    for late in ((2, 8), (2, 6), (1, 20)):
        assert host.order("start", *late) == TOO_LATE
    assert host.starts == 1
    assert host.order("start", 2, 9) == 0  # given again
    assert host.starts == 2


def test_a_start_is_remembered_whoever_asks(host):
    assert host.order("fence", 2, 5) == 0
    assert host.order("unfence", 2, 6) == 0
    assert host.order("start", 2, 9) == 0
    assert host.order("fence", 2, 8) == TOO_LATE
    assert host.order("unfence", 2, 8) == TOO_LATE
    assert host.order("heed", 2, 8) == TOO_LATE
    assert not host.opens(2, 8)
    assert not host.fenced


def test_what_starts_by_other_means_notes_its_order_first(host):
    """As start.yml does."""
    assert host.order("heed", 2, 9) == 0
    assert host.order("start", 2, 8) == TOO_LATE
    assert host.order("heed", 2, 9) == 0
    assert host.starts == 0


def test_a_start_that_died_after_its_note_is_done_by_the_next_attempt(host):
    assert host.order("fence", 2, 5) == 0
    assert host.order("unfence", 2, 6) == 0
    (host.folder / "filing.started").write_text(json.dumps({"number": 2, "ticket": 7, "side": "cloud", "at": ""}))
    (host.folder / "filing.started.skerry-4711").write_text('{"number": 9')  # and another before its own was whole
    assert host.order("start", 2, 8) == 0
    assert host.starts == 1
    assert json.loads((host.folder / "filing.started").read_text())["ticket"] == 8


def test_databases_are_not_opened_by_an_order_that_comes_late(host):
    assert host.opens(1, 1)  # nobody has ever ordered anything here
    assert host.order("fence", 2, 5) == 0
    assert not host.opens(1, 9)
    assert not host.opens(2, 4)
    assert host.opens(2, 6)  # a promotion comes before the fence is lifted
    assert host.order("unfence", 2, 7) == 0
    assert not host.opens(2, 6)
    assert host.opens(2, 7)


def test_what_was_obeyed_and_cannot_be_read_opens_nothing(host):
    assert host.order("fence", 2, 5) == 0
    (host.folder / "filing.json").write_text("{")
    done = host.in_order(9, 9, "touch", str(host.prefix / "opened"))
    assert done.returncode == 1
    assert "what this host obeyed cannot be read" in done.stderr
    assert not (host.prefix / "opened").exists()


def test_a_command_in_order_is_given_its_input_and_gives_both_streams_back_whole(host):
    script = "cat; yes | head -n 100000; yes wrong | head -n 100000 >&2; exit 4"
    answer = json.loads(host.in_order(2, 1, "sh", "-c", script, text="line\n" * 4_000).stdout.removeprefix("result "))
    assert answer["code"] == 4
    assert answer["said"] == "line\n" * 4_000 + "y\n" * 100_000
    assert answer["complained"] == "wrong\n" * 100_000


def test_nothing_comes_between_the_look_and_the_deed(host):
    assert host.order("fence", 2, 5) == 0
    assert host.order("unfence", 2, 6) == 0
    lock = str(host.folder / "filing.lock")
    done = host.in_order(2, 7, sys.executable, "-c", IS_HELD, lock)
    assert json.loads(done.stdout.removeprefix("result "))["said"] == "held\n"
    (host.prefix / "is_held.py").write_text(IS_HELD)
    host.more["WHILE_STARTING"] = f"{sys.executable} {host.prefix}/is_held.py {lock} > {host.prefix}/seen"
    assert host.order("start", 2, 8) == 0
    assert (host.prefix / "seen").read_text() == "held\n"


def test_whatever_the_umask_is_the_users_of_units_and_databases_may_look(host):
    before = os.umask(0o077)
    try:
        assert host.order("fence", 2, 5) == 0
    finally:
        os.umask(before)
    for place in (host.folder, host.folder.parent):
        assert place.stat().st_mode & 0o055 == 0o055
    for name in ("filing.json", "filing.lock"):
        assert (host.folder / name).stat().st_mode & 0o044 == 0o044
