"""The stand-in for systemctl, run as the program it is, on a host that is a folder."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.contracts.joined_program import joined_program

STAND_IN = Path(__file__).resolve().parents[2] / "orchestrator/lab/host_programs/systemctl_stand_in"
SLEEPER = "[Unit]\nDescription=sleeps\n[Service]\nExecStart=/bin/sleep 600\n[Install]\nWantedBy=multi-user.target\n"

Systemctl = Callable[..., subprocess.CompletedProcess[str]]


class HostFolder:
    """A host of a loopback lab without its sshd."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def unit(self, name: str, text: str, folder: str = "usr/local/lib/systemd/system") -> None:
        path = self.root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-S", "-E", "-B", "-c", joined_program(STAND_IN), *words],
            env={"PATH": os.environ["PATH"], "SKERRY_LAB_PREFIX": str(self.root)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def show(self, unit: str, key: str) -> str:
        return self.systemctl("show", unit, "-p", key, "--value").stdout.strip()

    def processes(self) -> list[str]:
        marker = f"SKERRY_LAB_PREFIX={self.root}\0".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and marker in (entry / "environ").read_bytes():
                    found.append(entry.name)
            except OSError:
                continue
        return found


@pytest.fixture
def host(tmp_path: Path) -> Iterator[HostFolder]:
    folder = HostFolder(tmp_path)
    yield folder
    for pid in folder.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def test_start_stop_and_what_is_said_of_them(host):
    host.unit("s.service", SLEEPER)
    assert host.systemctl("is-active", "s").stdout == "inactive\n"
    assert host.systemctl("start", "s").returncode == 0
    assert host.systemctl("start", "s").returncode == 0
    active = host.systemctl("is-active", "s")
    assert (active.returncode, active.stdout) == (0, "active\n")
    pid = host.show("s", "MainPID")
    assert Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
    assert host.systemctl("status", "s.service").returncode == 0
    assert host.systemctl("stop", "s").returncode == 0
    assert host.systemctl("is-active", "--quiet", "s").returncode == 3
    assert host.systemctl("stop", "s").returncode == 0
    assert not host.processes()


def test_a_missing_unit_is_refused_in_the_words_of_systemd(host):
    done = host.systemctl("start", "nosuch")
    assert (done.returncode, done.stderr) == (5, "Failed to start nosuch.service: Unit nosuch.service not found.\n")
    assert host.show("nosuch", "LoadState") == "not-found"
    assert host.systemctl("enable", "nosuch").returncode == 1


def test_a_masked_unit_refuses_to_start(host):
    host.unit("s.service", SLEEPER)
    assert host.systemctl("mask", "--now", "s").returncode == 0
    assert host.systemctl("is-enabled", "s").stdout == "masked\n"
    done = host.systemctl("start", "s")
    assert (done.returncode, done.stderr) == (1, "Failed to start s.service: Unit s.service is masked.\n")
    assert host.systemctl("enable", "s").returncode == 1
    host.systemctl("unmask", "s")
    assert host.systemctl("start", "s").returncode == 0


def test_a_unit_written_by_hand_cannot_be_masked_as_with_systemd(host):
    host.unit("s.service", SLEEPER, folder="etc/systemd/system")
    done = host.systemctl("mask", "s")
    assert done.returncode == 1
    assert "already exists" in done.stderr


def test_enabled_units_start_at_boot_in_their_order(host):
    log = host.root / "srv/order"
    log.parent.mkdir()
    for name, after in (("a", "After=b.service\n"), ("b", "")):
        host.unit(
            f"{name}.service",
            f"[Unit]\n{after}[Service]\nType=oneshot\nRemainAfterExit=yes\n"
            f"ExecStart=/bin/sh -c 'echo {name} >>/srv/order'\n[Install]\nWantedBy=multi-user.target\n".replace(
                "/srv/order", str(log)
            ),
        )
        assert host.systemctl("enable", name).returncode == 0
        assert host.systemctl("is-enabled", name).stdout == "enabled\n"
    host.systemctl("boot")
    assert log.read_text().split() == ["b", "a"]
    assert host.show("a", "SubState") == "exited"
    host.systemctl("disable", "a")
    assert host.systemctl("is-enabled", "a").returncode == 1


def test_a_guard_in_a_drop_in_keeps_a_unit_from_starting(host):
    host.unit("s.service", SLEEPER)
    guard = host.root / "usr/local/lib/guard"
    guard.parent.mkdir(parents=True, exist_ok=True)
    guard.write_text("#!/bin/sh\necho fenced; exit 3\n")
    guard.chmod(0o755)
    host.unit(
        "10-guard.conf", "[Service]\nExecStartPre=/usr/local/lib/guard\n", folder="etc/systemd/system/s.service.d"
    )
    done = host.systemctl("start", "s")
    assert done.returncode == 1
    assert "/usr/local/lib/guard of s.service ended with 3" in done.stderr
    assert (host.root / "var/log/s.service.log").read_text() == "fenced\n"
    assert host.systemctl("is-failed", "s").returncode == 0
    guard.write_text("#!/bin/sh\nexit 0\n")
    assert host.systemctl("daemon-reload").returncode == 0
    assert host.systemctl("restart", "s").returncode == 0


def test_drop_ins_add_and_an_empty_value_forgets(host):
    host.unit("s.service", "[Service]\nEnvironment=A=1\nExecStart=/bin/false\nType=oneshot\n")
    host.unit(
        "20.conf", "[Service]\nExecStart=\nExecStart=/bin/sh -c 'echo $A $B'\n", folder="run/systemd/system/s.service.d"
    )
    host.unit("30.conf", '[Service]\nEnvironment="B=two words"\n', folder="etc/systemd/system/s.service.d")
    assert host.systemctl("start", "s").returncode == 0
    assert (host.root / "var/log/s.service.log").read_text() == "1 two words\n"


def test_paths_of_the_host_get_its_prefix_and_others_do_not(host):
    (host.root / "etc").mkdir()
    (host.root / "etc/env").write_text("FROM_FILE=/srv/data\n")
    host.unit(
        "s.service",
        "[Service]\nType=oneshot\nEnvironmentFile=/etc/env\nEnvironmentFile=-/etc/none\nEnvironment=OWN=/var/lib/x\n"
        "ExecStart=/bin/echo /srv/a --data=/opt/b /usr/bin/env ${FROM_FILE} $OWN ${OWN}/deep $$x\n",
    )
    assert host.systemctl("start", "s").returncode == 0
    root = host.root
    assert (root / "var/log/s.service.log").read_text().split() == [
        f"{root}/srv/a", f"--data={root}/opt/b", "/usr/bin/env", f"{root}/srv/data", f"{root}/var/lib/x",
        f"{root}/var/lib/x/deep", "$x",
    ]  # fmt: skip


def test_a_program_that_dies_at_once_or_cannot_run_has_failed_to_start(host):
    host.unit("dies.service", "[Service]\nExecStart=/bin/sh -c 'echo no; exit 9'\n")
    done = host.systemctl("start", "dies")
    assert done.returncode == 1
    assert "ended with 9" in done.stderr
    host.unit("absent.service", "[Service]\nExecStart=/usr/bin/there-is-no-such-program\n")
    assert "ended with 203" in host.systemctl("start", "absent").stderr


def test_a_service_that_was_killed_shows_as_failed_and_can_be_started_again(host):
    host.unit("s.service", SLEEPER)
    host.systemctl("start", "s")
    os.kill(int(host.show("s", "MainPID")), signal.SIGKILL)
    deadline = time.monotonic() + 5
    while host.systemctl("is-active", "s").stdout != "failed\n":
        assert time.monotonic() < deadline
    assert host.systemctl("start", "s").returncode == 0
    host.systemctl("stop", "s")
    assert host.systemctl("is-active", "s").stdout == "inactive\n"


def test_stop_takes_the_children_too_and_does_not_wait_for_the_stubborn_for_ever(host):
    stubborn = "trap : TERM; setsid sleep 600 & while :; do sleep 600; done"
    host.unit("s.service", f"[Service]\nTimeoutStopSec=1\nExecStart=/bin/sh -c '{stubborn}'\n")
    host.systemctl("start", "s")
    time.sleep(0.1)
    assert len(host.processes()) >= 2
    started = time.monotonic()
    assert host.systemctl("stop", "s").returncode == 0
    assert time.monotonic() - started < 10
    assert not host.processes()


def test_kill_sends_the_signal_that_was_asked_for(host):
    host.unit("s.service", "[Service]\nExecStart=/bin/sh -c 'trap \"echo got\" HUP; while :; do sleep 0.05; done'\n")
    host.systemctl("start", "s")
    time.sleep(0.1)
    assert host.systemctl("kill", "--signal=HUP", "--kill-who=main", "s").returncode == 0
    deadline = time.monotonic() + 5
    while (host.root / "var/log/s.service.log").read_text() != "got\n":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_a_unit_requires_is_started_first_and_its_failure_is_told(host):
    host.unit("db.service", SLEEPER)
    host.unit("app.service", SLEEPER.replace("[Service]", "Requires=db.service\nAfter=db.service\n[Service]"))
    assert host.systemctl("start", "app").returncode == 0
    assert host.systemctl("is-active", "db").stdout == "active\n"
    host.systemctl("stop", "app", "db")
    host.systemctl("mask", "db")
    done = host.systemctl("start", "app")
    assert (done.returncode, done.stderr) == (1, "A dependency job for app.service failed.\n")


def test_two_starts_at_once_are_one_and_neither_kills_what_the_other_runs(host):
    marks = host.root / "marks"
    program = f"/bin/sh -c 'sleep 0.5; echo ran >>{marks}'"
    host.unit("once.service", f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={program}\n")
    ended: list[subprocess.CompletedProcess[str]] = []
    starts = [threading.Thread(target=lambda: ended.append(host.systemctl("start", "once"))) for _ in range(3)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert [(one.returncode, one.stderr) for one in ended] == [(0, "")] * 3
    assert marks.read_text() == "ran\n"


def test_a_condition_that_does_not_hold_skips_the_unit(host):
    host.unit("s.service", SLEEPER.replace("[Service]", "ConditionPathExists=!/etc/fenced\n[Service]"))
    (host.root / "etc").mkdir()
    (host.root / "etc/fenced").touch()
    assert host.systemctl("start", "s").returncode == 0
    assert host.systemctl("is-active", "s").stdout == "inactive\n"
    (host.root / "etc/fenced").unlink()
    host.systemctl("start", "s")
    assert host.systemctl("is-active", "s").stdout == "active\n"


def test_an_unknown_verb_is_refused(host):
    done = host.systemctl("levitate", "s")
    assert (done.returncode, done.stderr) == (1, "Unknown command verb levitate.\n")
