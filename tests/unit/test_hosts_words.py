"""Words, errors and configuration of the hosts room, without a host."""

import os
import subprocess
import threading
import time
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
from orchestrator.hosts.bounded_command import bounded, ran_out_of_time
from orchestrator.hosts.command_results import judged
from orchestrator.hosts.known_hosts import fingerprints, keys_of, lookup_name
from orchestrator.hosts.local import LocalTransport
from orchestrator.hosts.process_pump import Pumped
from orchestrator.hosts.shell_words import configuration_path, included_path, shell_line, shown
from orchestrator.hosts.ssh_configuration import SshConfiguration, write_configuration
from orchestrator.hosts.ssh_errors import connection_error
from orchestrator.model.host import Host
from tests.laws.transport_laws import AWKWARD_WORDS

HOST = Host(name="onprem-a", site="onprem", address="10.10.1.11", port=2222, user="deploy")
CONFIGURATION = SshConfiguration(Path("/run/x.conf"), "deploy", "[10.10.1.11]:2222", ())


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_any_posix_shell_splits_the_line_into_the_words(shell: str) -> None:
    words = ["printf", "[%s]", *AWKWARD_WORDS]
    done = subprocess.run([shell, "-c", shell_line(words)], capture_output=True, check=True)
    assert done.stdout.decode() == "".join(f"[{word}]" for word in AWKWARD_WORDS)


def test_long_lines_are_cut_for_messages() -> None:
    assert len(shown(["x" * 500])) == 120
    assert "\n" not in shown(["a\nb"])


def test_what_a_program_is_asked_is_shown_in_words() -> None:
    request = '{"do": "drain", "prefix": "", "system": "filing", "number": 15, "checks": [{"name": "a"}]}'
    assert shown(["python3", "-I", "-S", "-", request]) == "python3 -I -S - do=drain system=filing number=15"
    assert shown(["echo", "{not json"]) == "echo '{not json'"


@pytest.mark.parametrize("path", ['/a"b', "/a\nb", "/a\\b"])
def test_a_path_that_openssh_cannot_take_is_refused(path: str) -> None:
    for quote in (configuration_path, included_path):
        with pytest.raises(UsageError):
            quote(Path(path))


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize(
    ("words", "stdin", "code", "out"),
    [
        (["printf", "a b"], b"", 0, b"a b"),
        (["cat"], b"in\0put", 0, b"in\0put"),
        (["sh", "-c", "exit 7"], b"x", 7, b""),
        (["head", "-c", "1"], b"x" * 300_000, 0, b"x"),
    ],
)
def test_the_bounding_script_runs_in_either_shell(
    shell: str, words: list[str], stdin: bytes, code: int, out: bytes
) -> None:
    command = bounded(words, timeout_seconds=20, stdin_bytes=len(stdin))
    with subprocess.Popen(
        [shell, *command.words[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(stdin)
        process.stdin.flush()
        assert process.stdout.read() == out
        assert process.wait() == code
        assert process.stderr.read() == b""


def test_input_that_breaks_off_starts_no_command(tmp_path: Path) -> None:
    command = bounded(["touch", str(tmp_path / "ran")], timeout_seconds=20, stdin_bytes=1000)
    done = subprocess.run(list(command.words), input=b"x" * 999, capture_output=True, check=False)
    assert done.returncode == 74
    assert b"broke off" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_caller_that_goes_away_at_once_leaves_nothing_behind() -> None:
    """timeout(1) misses a signal while it forks, so this is tried at many moments of its start."""
    nap = f"7{os.getpid()}.5"
    for step in range(40):
        command = bounded(["sh", "-c", f"echo x; exec sleep {nap}"], timeout_seconds=600, stdin_bytes=0)
        with subprocess.Popen(list(command.words), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            time.sleep(step / 10_000)
            process.stdin.close()
            process.wait(timeout=20)
    deadline = time.monotonic() + 10
    while (left := sleepers(nap)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def sleepers(nap: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if words[:2] == [b"sleep", nap.encode()]:
                found.append(entry.name)
    return found


def pumped(code: int, *, seconds: float = 0.1, stderr: bytes = b"", overran: bool = False) -> Pumped:
    return Pumped(exit_code=code, stdout=b"", stderr=stderr, seconds=seconds, overran=overran, overflowed=False)


def test_a_commands_own_124_is_no_time_out() -> None:
    assert ran_out_of_time(124, 5.0, 5.0)
    assert not ran_out_of_time(124, 1.0, 5.0)
    assert not ran_out_of_time(1, 6.0, 5.0)
    with pytest.raises(CommandTimedOut, match="within 5s"):
        judged("h", ["x"], pumped(124, seconds=5.01), timeout_seconds=5, check=False, user=None)


def test_sudo_that_refuses_is_access_denied_and_other_failures_are_not() -> None:
    refusal = pumped(1, stderr=b"sudo: a password is required\n")
    with pytest.raises(AccessDenied, match="may not become root"):
        judged("h", ["id"], refusal, timeout_seconds=5, check=False, user="root")
    with pytest.raises(CommandFailed, match="a password is required"):
        judged("h", ["id"], refusal, timeout_seconds=5, check=True, user=None)


def test_the_last_lines_of_a_complaint_are_told() -> None:
    said = "".join(f"line {number}\n" for number in range(9)).encode()
    with pytest.raises(CommandFailed, match=r"line 4 \| .* \| line 8") as caught:
        judged("h", ["x"], pumped(3, stderr=said), timeout_seconds=5, check=True, user=None)
    assert "line 3" not in caught.value.message


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("ssh: connect to host 10.10.1.11 port 2222: Connection refused", HostUnreachable),
        ("ssh: connect to host 10.10.1.11 port 2222: No route to host", HostUnreachable),
        ("Connection timed out during banner exchange", HostUnreachable),
        ("kex_exchange_identification: Connection closed by remote host", HostUnreachable),
        ("ssh: Could not resolve hostname nowhere: Name or service not known", HostUnreachable),
        ("", HostUnreachable),
        ("deploy@10.10.1.11: Permission denied (publickey).", AccessDenied),
        ("Received disconnect from 10.10.1.11: Too many authentication failures", AccessDenied),
        ("Bad owner or permissions on /x/ssh_config", AccessDenied),
        ("Host key verification failed.", HostKeyMismatch),
        ("No ED25519 host key is known for [10.10.1.11]:2222 and you have requested strict checking.", HostKeyMismatch),
    ],
)
def test_what_ssh_says_becomes_one_of_three_errors(said: str, kind: type[Exception]) -> None:
    error = connection_error(HOST, CONFIGURATION, said + "\n")
    assert type(error) is kind
    assert error.message.startswith("onprem-a (")


def test_a_proxy_that_ended_is_told_by_what_it_said_itself() -> None:
    said = "lab: no connection to 10.10.1.11\nmm_receive_fd: recvmsg: expected received 1 got 0\n"
    said += "proxy dialer did not pass back a connection\n"
    told = connection_error(HOST, CONFIGURATION, said).message
    assert told == "onprem-a (10.10.1.11:2222) cannot be reached: lab: no connection to 10.10.1.11"


def test_known_hosts_lines_are_read_with_their_markers() -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFmZ2MbxG5N3Ic0vG0k0n1yXx4b1i3N8yq5sB1f6tq3h"
    lines = [f"a,b {key} comment", f"@cert-authority * {key}", f"@revoked a {key}", f"c {key}"]
    assert keys_of(lines) == [key, f"@cert-authority {key}"]
    told = fingerprints(keys_of(lines))
    assert told[0].startswith("SHA256:")
    assert told[1] == f"a host certificate signed by {told[0]}"
    assert lookup_name("10.0.0.1", 22) == "10.0.0.1"
    assert lookup_name("10.0.0.1", 2222) == "[10.0.0.1]:2222"


def test_the_inventory_decides_address_and_port_and_the_operator_the_rest(tmp_path: Path) -> None:
    operator = tmp_path / "operator config"
    operator.write_text(
        "Host onprem-a\n  HostName 192.0.2.1\n  Port 99\n  User admin\n  StrictHostKeyChecking no\n"
        "  ControlPersist yes\n  ForwardAgent yes\n  ProxyJump bastion\n  UserKnownHostsFile /k1 /k2\n"
    )
    made = write_configuration(HOST, tmp_path, operator, tmp_path / "learned keys")
    asked = subprocess.run(
        ["ssh", "-G", "-F", str(made.file), "onprem-a"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for line in (
        "hostname 10.10.1.11",
        "port 2222",
        "user admin",
        "stricthostkeychecking true",
        "forwardagent no",
        "proxyjump bastion",
        f"userknownhostsfile /k1 /k2 {tmp_path}/learned keys",
    ):
        assert line in asked
    assert made.user == "admin"
    assert made.known_hosts[:3] == (Path("/k1"), Path("/k2"), tmp_path / "learned keys")


def test_one_name_at_two_places_has_two_configurations(tmp_path: Path) -> None:
    operator = tmp_path / "operator"
    operator.write_text("")
    made = write_configuration(HOST, tmp_path, operator, None)
    elsewhere = write_configuration(HOST.model_copy(update={"port": 1}), tmp_path, operator, None)
    assert "Port 2222" in made.file.read_text()
    assert "Port 1\n" in elsewhere.file.read_text()


def test_an_operators_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    operator = tmp_path / "config"
    operator.write_text("Host *\n  User admin\n")
    operator.chmod(0o666)
    with pytest.raises(AccessDenied, match="Bad owner or permissions"):
        write_configuration(HOST, tmp_path, operator, None)


def test_ctrl_c_reaches_us_and_not_the_command(tmp_path: Path) -> None:
    """Commands run in sessions of their own, so that a key press on the terminal cannot end them behind our back."""
    transport = LocalTransport(Host(name="here", site="onprem", address="127.0.0.1"))
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(transport.run(["sh", "-c", "ps -o sid= -p $$"]).text))
    thread.start()
    thread.join()
    assert int(found[0]) != os.getsid(0)
