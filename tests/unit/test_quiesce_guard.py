"""An application that is held is let go in time, whoever of the two ends dies: proved with real processes."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.foundation.errors import CommandFailed
from orchestrator.hosts.local import LocalTransport
from orchestrator.model.action import TakeRecoveryPoint
from orchestrator.model.host import Host
from orchestrator.model.system import Quiesce
from orchestrator.steps.quiescing import PROGRAM, quiesced
from tests.fakes.drivers import FakeWorld, a_deed

HERE = Host(name="source-filing1", site="onprem", address="127.0.0.1", become=False)
CONTROL = """#!/bin/sh
# enter and leave of an application that is held while the file `held` is there
case $1 in
  quiesce) touch "$HELD/held"; echo "$2" >"$HELD/limit"; [ ! -e "$HELD/refuses" ] || { echo "not now" >&2; exit 4; } ;;
  hang) touch "$HELD/held"; sleep 600 ;;
  resume) [ ! -e "$HELD/stuck" ] || { rm "$HELD/stuck"; echo "stuck" >&2; exit 5; }; rm -f "$HELD/held" ;;
esac
"""


@pytest.fixture
def control(tmp_path):
    path = tmp_path / "control"
    path.write_text(CONTROL.replace("$HELD", str(tmp_path)))
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def drivers():
    return dataclasses.replace(FakeWorld().drivers, transports=lambda _host: LocalTransport(HERE))


@pytest.fixture
def deed():
    return a_deed(TakeRecoveryPoint())


def hook(control, *, enter="quiesce", seconds=30.0):
    return Quiesce(enter=(control, enter, "{seconds}"), leave=(control, "resume"), seconds_max=seconds)


def await_gone(path: Path):
    deadline = time.monotonic() + 60
    while path.exists():
        assert time.monotonic() < deadline, f"{path} is still there"
        time.sleep(0.05)


def test_it_is_held_within_and_let_go_at_the_end(drivers, deed, control, tmp_path):
    with quiesced(drivers, deed, hook(control)) as release:
        assert (tmp_path / "held").exists()
        assert (tmp_path / "limit").read_text() == "30\n"
        assert release() is True
        assert not (tmp_path / "held").exists()
        assert release() is True


def test_it_is_let_go_when_what_is_done_meanwhile_fails(drivers, deed, control, tmp_path):
    with pytest.raises(ZeroDivisionError), quiesced(drivers, deed, hook(control)):
        raise ZeroDivisionError
    assert not (tmp_path / "held").exists()


def test_without_a_hook_nothing_is_held_and_nothing_is_late(drivers, deed):
    with quiesced(drivers, deed, None) as release:
        assert release() is True


def test_past_the_limit_the_host_lets_go_by_itself_and_the_caller_learns_of_it(drivers, deed, control, tmp_path):
    with quiesced(drivers, deed, hook(control, seconds=0.5)) as release:
        await_gone(tmp_path / "held")
        assert release() is False


def test_a_hook_that_refuses_is_an_error_and_holds_nothing(drivers, deed, control, tmp_path):
    (tmp_path / "refuses").touch()
    with pytest.raises(CommandFailed, match="ended with 4: not now"), quiesced(drivers, deed, hook(control)):
        pytest.fail("it must not be entered")
    assert not (tmp_path / "held").exists()


def test_a_hook_that_hangs_is_ended_at_the_limit(drivers, deed, control, tmp_path):
    hangs = hook(control, enter="hang", seconds=1)
    with pytest.raises(CommandFailed, match="did not end within 1 s"), quiesced(drivers, deed, hangs):
        pytest.fail("it must not be entered")
    await_gone(tmp_path / "held")


def test_a_let_go_that_fails_is_tried_again_by_the_host(drivers, deed, control, tmp_path):
    (tmp_path / "stuck").touch()
    with pytest.raises(CommandFailed, match="ended with 5: stuck"), quiesced(drivers, deed, hook(control, seconds=1)):
        pass
    await_gone(tmp_path / "held")


def test_whoever_asked_may_be_killed_and_the_host_lets_go(control, tmp_path):
    """The program is killed with all of its group, as a cut connection does; its guard stays."""
    request = f'{{"do": "hold", "enter": ["{control}", "hang"], "leave": ["{control}", "resume"], "seconds": 2}}'
    asked = subprocess.Popen(
        [sys.executable, "-I", "-S", str(PROGRAM), request], stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "held").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(asked.pid, signal.SIGKILL)
    asked.wait()
    await_gone(tmp_path / "held")
