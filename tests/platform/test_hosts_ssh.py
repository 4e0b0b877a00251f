"""SshTransport on a real sshd: the laws, and every way in which a connection goes wrong."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.foundation.errors import (
    AccessDenied,
    CommandFailed,
    CommandTimedOut,
    HostKeyMismatch,
    HostUnreachable,
    UsageError,
)
from orchestrator.hosts.ssh import SshTransport, SshTransports, open_transports
from orchestrator.wiring.transports import programs_while_clients_wait
from tests.laws.transport_laws import ReachingLaws, TransportLaws
from tests.platform.local_sshd import LocalSshd, keygen

pytestmark = pytest.mark.platform("ssh")

# bash takes a shell of level 2 for no login from the network and does not read a ~/.bashrc of this machine.
QUICK_SHELL = "SetEnv SHLVL=1\n"


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[LocalSshd]:
    server = LocalSshd(tmp_path / "sshd", extra=QUICK_SHELL)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def transports(sshd: LocalSshd, tmp_path: Path) -> Iterator[SshTransports]:
    with open_transports(sshd.ssh_config, tmp_path / "run", quick_programs=programs_while_clients_wait) as opened:
        yield opened


@pytest.fixture
def transport(sshd: LocalSshd, transports: SshTransports) -> SshTransport:
    return transports(sshd.host)


class TestTransportWithAHand(TransportLaws):
    """Commands go through a process that stands ready: nothing else is different."""

    @pytest.fixture
    def transport(self, sshd: LocalSshd, transports: SshTransports) -> SshTransport:
        transports.stand_ready(sshd.host, [None])
        assert transports.pool(sshd.host).hands.of(None) is not None
        return transports(sshd.host)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> str:
        (tmp_path / "empty").mkdir()
        return str(tmp_path / "empty")

    def test_a_connection_that_breaks_under_a_command_is_told_and_the_next_goes_the_long_way(
        self, sshd: LocalSshd, transport: SshTransport, transports: SshTransports, tmp_path: Path
    ) -> None:
        marker = tmp_path / "begun"
        standing = transports.pool(sshd.host).hands.of(None)
        assert standing is not None
        caught: list[BaseException] = []

        def run() -> None:
            try:
                transport.run(["sh", "-c", f"echo $$ > {marker}; exec sleep 60"])
            except HostUnreachable as error:
                caught.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        deadline = time.monotonic() + 30
        while not (marker.exists() and marker.read_text().strip()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        standing.connection.close()
        thread.join(30)
        assert len(caught) == 1
        assert "whether it took effect is unknown" in str(caught[0])
        while Path(f"/proc/{marker.read_text().strip()}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert transport.run(["printf", "on"]).text == "on"


class TestSshTransport(TransportLaws, ReachingLaws):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> str:
        folder = tmp_path / "scratch"
        folder.mkdir()
        return str(folder)

    @pytest.fixture
    def unreachable(self, sshd: LocalSshd, transports: SshTransports) -> SshTransport:
        return transports(sshd.host.model_copy(update={"name": "gone-a", "port": 1}))

    @pytest.fixture
    def mistaken(self, sshd: LocalSshd, tmp_path: Path) -> Iterator[SshTransport]:
        other = tmp_path / "other"
        keygen("-t", "ed25519", "-N", "", "-f", str(other))
        key = " ".join(other.with_suffix(".pub").read_text().split()[:2])
        (sshd.folder / "known_hosts").write_text(f"[{sshd.address}]:{sshd.port} {key}\n")
        with open_transports(sshd.ssh_config, tmp_path / "mistaken") as opened:
            yield opened(sshd.host)

    @pytest.fixture
    def refused(self, sshd: LocalSshd, tmp_path: Path) -> Iterator[SshTransport]:
        stranger = tmp_path / "stranger"
        keygen("-t", "ed25519", "-N", "", "-f", str(stranger))
        config = tmp_path / "refused_config"
        config.write_text(sshd.ssh_config.read_text().replace(f"{sshd.folder}/id", str(stranger)))
        # The laws for a wrong host key need this one to be right; each fixture has a known_hosts of its own.
        known = tmp_path / "right_known_hosts"
        known.write_text(sshd.known_line())
        config.write_text(config.read_text().replace(f"{sshd.folder}/known_hosts", str(known)))
        with open_transports(config, tmp_path / "refused") as opened:
            yield opened(sshd.host)


def processes_with(text: str) -> list[str]:
    """Command lines on this machine that hold `text`, zombies and ourselves left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if text in words:
                found.append(words)
    return found


def a_nap() -> str:
    """Seconds to sleep that no other test sleeps, so that the sleeper is known by them."""
    return f"{random.randint(4000, 9000)}.{random.randint(100000, 999999)}"


def await_start(command: str) -> None:
    """The command itself, not the ssh that carries its words."""
    deadline = time.monotonic() + 10
    while not any(words.startswith(command) for words in processes_with(command)):
        assert time.monotonic() < deadline, f"{command} was not started"
        time.sleep(0.02)


def await_none(text: str, seconds: float = 8.0) -> list[str]:
    deadline = time.monotonic() + seconds
    while (left := processes_with(text)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def test_the_fingerprint_that_was_expected_is_named(sshd: LocalSshd, tmp_path: Path) -> None:
    other = tmp_path / "other"
    keygen("-t", "ed25519", "-N", "", "-f", str(other))
    words = other.with_suffix(".pub").read_text().split()
    (sshd.folder / "known_hosts").write_text(f"[{sshd.address}]:{sshd.port} {words[0]} {words[1]}\n")
    listed = subprocess.run(["ssh-keygen", "-lf", f"{other}.pub"], capture_output=True, text=True, check=True)
    shown = subprocess.run(
        ["ssh-keygen", "-lf", f"{sshd.folder}/host_key.pub"], capture_output=True, text=True, check=True
    )
    with open_transports(sshd.ssh_config, tmp_path / "run") as opened, pytest.raises(HostKeyMismatch) as caught:
        opened(sshd.host).run(["touch", str(tmp_path / "was-run")])
    assert f"expected host key {listed.stdout.split()[1]}" in caught.value.message
    assert f"shows {shown.stdout.split()[1]}" in caught.value.message
    assert not (tmp_path / "was-run").exists()


def test_a_host_without_a_known_key_is_not_trusted(sshd: LocalSshd, tmp_path: Path) -> None:
    (sshd.folder / "known_hosts").write_text("")
    with (
        open_transports(sshd.ssh_config, tmp_path / "run") as opened,
        pytest.raises(HostKeyMismatch, match="no host key is known") as caught,
    ):
        opened(sshd.host).run(["true"])
    assert "known_hosts" in caught.value.message


def test_strict_checking_cannot_be_turned_off(sshd: LocalSshd, tmp_path: Path) -> None:
    (sshd.folder / "known_hosts").write_text("")
    sshd.ssh_config.write_text("Host *\n  StrictHostKeyChecking no\n" + sshd.ssh_config.read_text())
    with open_transports(sshd.ssh_config, tmp_path / "run") as opened, pytest.raises(HostKeyMismatch):
        opened(sshd.host).run(["true"])


def test_learned_keys_are_trusted_beside_the_operators(sshd: LocalSshd, tmp_path: Path) -> None:
    learned = tmp_path / "learned"
    (sshd.folder / "known_hosts").write_text("")
    with open_transports(sshd.ssh_config, tmp_path / "run", learned) as opened:
        with pytest.raises(HostKeyMismatch):
            opened(sshd.host).run(["true"])
        learned.write_text(sshd.known_line())  # learned while we are at it, as for a machine that was just made
        assert opened(sshd.host).run(["printf", "in"]).text == "in"


def test_a_hashed_known_hosts_tells_its_fingerprints_too(sshd: LocalSshd, tmp_path: Path) -> None:
    keygen("-H", "-f", str(sshd.folder / "known_hosts"))
    with open_transports(sshd.ssh_config, tmp_path / "run") as opened:
        assert opened(sshd.host).run(["printf", "in"]).text == "in"


def test_a_folder_with_blanks_and_per_cent_works(sshd: LocalSshd, tmp_path: Path) -> None:
    home = tmp_path / "a home %h"
    home.mkdir()
    config = home / "ssh config"
    known = home / "known hosts"
    known.write_text(sshd.known_line())
    text = sshd.ssh_config.read_text().replace(f'"{sshd.folder}/known_hosts"', f'"{known}"'.replace("%", "%%"))
    config.write_text(text)
    with open_transports(config, home / "run dir", home / "learned keys") as opened:
        assert opened(sshd.host).run(["printf", "in"]).text == "in"


def test_a_long_run_folder_gets_short_sockets_that_go_again(sshd: LocalSshd, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 90) / ("y" * 90)
    with open_transports(sshd.ssh_config, long) as opened:
        transport = opened(sshd.host)
        assert transport.run(["printf", "in"]).text == "in"
        folder = opened._sockets
        assert len(str(folder)) < 64
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_a_dead_master_is_replaced(transport: SshTransport) -> None:
    transport.run(["true"])
    with transport._pool.session() as connection:
        master = connection._master
        assert master is not None
        master.kill()
        master.wait()
    assert transport.run(["printf", "replaced"]).text == "replaced"


def test_a_master_whose_socket_was_swept_away_is_replaced(transport: SshTransport) -> None:
    transport.run(["true"])
    with transport._pool.session() as connection:
        connection.socket.unlink()
    assert transport.run(["printf", "replaced"]).text == "replaced"


def test_a_connection_cut_in_the_middle_is_unreachable_and_ends_the_command(
    sshd: LocalSshd, transport: SshTransport
) -> None:
    caught: list[Exception] = []
    nap = a_nap()

    def run() -> None:
        try:
            transport.run(["sleep", nap])
        except HostUnreachable as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    await_start(f"sleep {nap}")
    sshd.stop()
    thread.join(timeout=15)
    assert caught, "the cut was not noticed"
    assert "unknown" in str(caught[0])
    assert await_none(f"sleep {nap}") == []
    with pytest.raises(HostUnreachable):
        transport.run(["true"])
    sshd.start()
    assert transport.run(["printf", "back"]).text == "back"


def test_a_command_killed_on_the_host_is_told_from_a_broken_connection(transport: SshTransport) -> None:
    with pytest.raises(CommandFailed, match="killed on the host"):
        # The shell that bounds the command is the parent of timeout(1), which is the parent of this one.
        transport.run(["sh", "-c", "kill -9 $(ps -o ppid= -p $PPID)"])
    assert transport.run(["printf", "on"]).text == "on"


def test_a_command_that_ignores_its_end_is_killed(transport: SshTransport) -> None:
    nap = a_nap()
    started = time.monotonic()
    with pytest.raises(CommandTimedOut):
        transport.run(["sh", "-c", f"trap '' TERM; sleep {nap} & wait; sleep {nap}"], timeout_seconds=0.5)
    assert time.monotonic() - started < 30
    assert await_none(f"sleep {nap}") == []


def test_what_a_command_leaves_behind_does_not_hold_the_connection(transport: SshTransport) -> None:
    nap = a_nap()
    assert transport.run(["sh", "-c", f"sleep {nap} & printf done"], timeout_seconds=60).text == "done"
    assert await_none(f"sleep {nap}") == []


def test_a_command_that_prints_without_end_is_stopped(transport: SshTransport) -> None:
    with pytest.raises(CommandFailed, match="without end"):
        transport.run(["yes", "x" * 1000])
    assert await_none("yes xxxx") == []
    assert transport.run(["printf", "on"]).text == "on"


def test_more_commands_at_once_than_sshd_takes_on_one_connection(tmp_path: Path) -> None:
    server = LocalSshd(tmp_path / "few", extra=QUICK_SHELL + "MaxSessions 3\n")
    server.start()
    try:
        with open_transports(server.ssh_config, tmp_path / "run") as opened:
            transport = opened(server.host)
            answers: list[str] = []
            threads = [
                threading.Thread(target=lambda: answers.append(transport.run(["sh", "-c", "sleep 0.5; echo x"]).text))
                for _ in range(10)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert answers == ["x"] * 10
    finally:
        server.stop()


def test_an_sshd_without_sessions_to_share_is_named(tmp_path: Path) -> None:
    server = LocalSshd(tmp_path / "one", extra="MaxSessions 1\n")
    server.start()
    try:
        with open_transports(server.ssh_config, tmp_path / "run") as opened, pytest.raises(AccessDenied) as caught:
            opened(server.host).run(["true"])
        assert "MaxSessions" in caught.value.hint
    finally:
        server.stop()


def test_an_error_of_the_listener_ends_the_command(transport: SshTransport) -> None:
    nap = a_nap()

    def refuse(line: str) -> None:
        raise ZeroDivisionError(line)

    with pytest.raises(ZeroDivisionError):
        transport.run(["sh", "-c", f"echo first; exec sleep {nap}"], on_line=refuse)
    assert await_none(f"sleep {nap}") == []


def test_a_word_with_a_nul_is_refused_here(transport: SshTransport) -> None:
    with pytest.raises(UsageError, match="NUL"):
        transport.run(["printf", "a\0b"])


CHILD = """
import sys
from pathlib import Path
from orchestrator.hosts.ssh import open_transports
from orchestrator.model.host import Host
host = Host.model_validate_json(sys.argv[1])
transport = open_transports(Path(sys.argv[2]), Path(sys.argv[3]))(host)
transport.run(["true"])
print("open", flush=True)
transport.run(["sleep", sys.argv[4]], timeout_seconds=3600)
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_our_death_ends_the_command_the_connection_and_its_socket(
    sshd: LocalSshd, tmp_path: Path, ending: signal.Signals
) -> None:
    nap = a_nap()
    run_dir = tmp_path / "child"
    words = [sys.executable, "-c", CHILD, sshd.host.model_dump_json(), str(sshd.ssh_config), str(run_dir), nap]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        await_start(f"sleep {nap}")
        started = time.monotonic()
        child.send_signal(ending)
        child.wait(timeout=20)
        assert await_none(f"sleep {nap}") == []
        assert await_none(f"ssh -F {run_dir}") == []
        assert time.monotonic() - started < 30


def test_what_a_killed_process_left_is_swept_by_the_next(sshd: LocalSshd, tmp_path: Path) -> None:
    with open_transports(sshd.ssh_config, tmp_path / "run") as opened:
        sockets = opened._sockets
    sockets.mkdir(mode=0o700)
    (sockets / "4194305.0.1").write_text("")  # no process has this number: it is above the kernel's limit
    (sockets / f"{os.getpid()}.9.9").write_text("")
    with open_transports(sshd.ssh_config, tmp_path / "run"):
        assert [entry.name for entry in sockets.iterdir()] == [f"{os.getpid()}.9.9"]


@pytest.mark.platform("root")
def test_another_user_runs_the_command_and_can_be_ended(transport: SshTransport) -> None:
    assert transport.run(["id", "-un"], user="nobody").text == "nobody"
    nap = a_nap()
    with pytest.raises(CommandTimedOut):
        transport.run(["sleep", nap], user="nobody", timeout_seconds=0.5)
    assert await_none(f"sleep {nap}") == []


@pytest.mark.platform("root")
def test_a_login_without_a_shell_is_told_so(sshd: LocalSshd, tmp_path: Path) -> None:
    sshd.ssh_config.write_text(sshd.ssh_config.read_text() + "  User nobody\n")
    keygen("-s", str(sshd.user_ca), "-I", "nobody", "-n", "nobody,root", str(sshd.folder / "id.pub"))
    (sshd.folder / "sshd_config").chmod(0o644)
    with open_transports(sshd.ssh_config, tmp_path / "run") as opened:
        transport = opened(sshd.host)
        assert transport.login_user == "nobody"
        with pytest.raises(AccessDenied, match="login shell"):
            transport.run(["id"])


def test_the_operators_user_comes_before_the_inventorys(sshd: LocalSshd, tmp_path: Path) -> None:
    with open_transports(sshd.ssh_config, tmp_path / "one") as opened:
        assert opened(sshd.host.model_copy(update={"user": "somebody"})).login_user == "somebody"
    sshd.ssh_config.write_text(sshd.ssh_config.read_text() + "  User deploy\n")
    with open_transports(sshd.ssh_config, tmp_path / "two") as opened:
        assert opened(sshd.host.model_copy(update={"user": "somebody"})).login_user == "deploy"
