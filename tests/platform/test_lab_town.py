"""The lab's town, on both grounds: hosts, ways in, life and death. Run as root and as an ordinary user."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.foundation.errors import LabError
from orchestrator.lab.blueprint import LabHost, PlacedFile, Unit
from orchestrator.lab.machine import Process
from orchestrator.lab.town import Town, open_town
from tests.platform.lab_rows import CLOUD, ONPREM, ssh, traces

pytestmark = pytest.mark.platform("hosts", "ssh")

KINDS = [
    pytest.param("namespaces", marks=pytest.mark.platform("namespaces")),
    pytest.param("loopback"),
]
TICKER = Unit(
    "ticker",
    "[Service]\nExecStart=/opt/ticker/run /var/lib/ticker\n[Install]\nWantedBy=multi-user.target\n",
    {"/opt/ticker/run": PlacedFile(b'#!/bin/sh\nmkdir -p "$1"; echo on >>"$1/starts"; exec sleep 600\n', 0o755)},
    enabled=True,
)


@pytest.fixture(scope="module", params=KINDS)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    # A folder far below: names of sockets must not depend on its length.
    folder = tmp_path_factory.mktemp("lab") / ("deep" * 20) / "lab"
    folder.parent.mkdir()
    town = open_town(folder, kind=request.param)
    town.up([ONPREM, LabHost("dr-a", "dr", "10.20.1.11", services=(TICKER,))])
    yield town
    town.down()


def test_ssh_reaches_hosts_by_name_and_by_address_from_outside(lab: Town) -> None:
    for host in lab.hosts().values():
        for called in (host.name, host.address):
            done = ssh(lab, called, "echo", "$SSH_CONNECTION")
            assert done.returncode == 0, done.stderr
            assert host.address in done.stdout


def test_a_host_with_another_key_is_refused(lab: Town, tmp_path: Path) -> None:
    onprem, dr = lab.host_key("onprem-a"), lab.host_key("dr-a")
    assert onprem != dr
    swapped = tmp_path / "known_hosts"
    swapped.write_text(lab.known_hosts.read_text().replace(onprem, "KEY").replace(dr, onprem).replace("KEY", dr))
    done = ssh(lab, "onprem-a", "true", options=("-o", f"UserKnownHostsFile={swapped}"))
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_a_certificate_of_the_user_ca_opens_a_host(lab: Town, tmp_path: Path) -> None:
    login = lab.hosts()["dr-a"].user
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    config = tmp_path / "config"
    lines = lab.ssh_config.read_text().splitlines()
    config.write_text("\n".join(line for line in lines if "File" not in line or "KnownHosts" in line))
    only_this = ("-F", str(config), "-o", "IdentityAgent=none", "-i", str(tmp_path / "key"))
    refused = ssh(lab, "dr-a", "true", options=only_this)
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr
    subprocess.run(
        ["ssh-keygen", "-q", "-s", lab.user_ca, "-I", "test", "-n", login, "-V", "+5m", tmp_path / "key.pub"],
        check=True,
    )
    accepted = ssh(lab, "dr-a", "true", options=only_this)
    assert accepted.returncode == 0, accepted.stderr


def test_hosts_are_given_as_an_inventory_names_them(lab: Town) -> None:
    host = lab.hosts()["dr-a"]
    assert (host.site, host.become or lab.kind == "loopback") == ("dr", True)
    assert host.path("/srv/x") == (f"{lab.path_on_machine('dr-a', '/srv/x')}" if host.path_prefix else "/srv/x")


def test_files_of_hosts_are_their_own(lab: Town) -> None:
    for name in ("onprem-a", "dr-a"):
        lab.place(name, {"/srv/whose": PlacedFile(name.encode())})
    for name, host in lab.hosts().items():
        assert ssh(lab, name, "cat", host.path("/srv/whose")).stdout == name
        assert lab.path_on_machine(name, "/srv/whose").read_text() == name


def test_an_enabled_unit_runs_at_every_boot_and_files_outlive_the_power(lab: Town) -> None:
    starts = lab.path_on_machine("dr-a", "/var/lib/ticker/starts")
    before = len(starts.read_text().split())
    assert lab.run_inside("dr-a", ["systemctl", "is-active", "ticker"]).text == "active"
    lab.power_off("dr-a")
    with pytest.raises(LabError, match="Connection refused|No route|timed out"):
        lab.connect("dr-a", lab.hosts()["dr-a"].port)
    assert lab.status()["hosts"][1]["power"] == "off"
    lab.power_on("dr-a")
    assert lab.run_inside("dr-a", ["systemctl", "is-active", "ticker"]).text == "active"
    assert len(starts.read_text().split()) == before + 1


def test_systemctl_says_the_same_whether_the_first_process_is_asked_or_it_does_it_itself(lab: Town) -> None:
    questions = [
        ["is-active", "ticker"],
        ["is-active", "nothing"],
        ["start", "nothing"],
        ["show", "ticker.service", "ssh.service", "--property=LoadState,ActiveState,UnitFileState"],
        ["is-enabled", "ticker", "nothing"],
        ["restart", "ticker"],
        ["no-such-verb", "ticker"],
        [],
    ]
    for words in questions:
        asked, itself = (
            lab.run_inside("dr-a", [program, *words], check=False) for program in ("systemctl", "systemctl-itself")
        )
        assert (asked.exit_code, asked.stdout, asked.stderr) == (itself.exit_code, itself.stdout, itself.stderr), words
    assert lab.run_inside("dr-a", ["systemctl", "is-active", "ticker"]).text == "active"


def test_run_inside_gives_back_all_and_ends_what_takes_too_long(lab: Town) -> None:
    done = lab.run_inside(
        "onprem-a", ["sh", "-c", "cat; echo to-stderr >&2; exit 7"], stdin=b"x" * 300_000, check=False
    )
    assert (done.exit_code, len(done.stdout), done.stderr) == (7, 300_000, b"to-stderr\n")
    with pytest.raises(LabError, match="ended with 7: to-stderr"):
        lab.run_inside("onprem-a", ["sh", "-c", "echo to-stderr >&2; exit 7"])
    with pytest.raises(LabError, match=r"did not end within 0\.3 s"):
        lab.run_inside("onprem-a", ["sh", "-c", "sleep 4242; true"], timeout_seconds=0.3)
    assert "4242" not in lab.run_inside("onprem-a", ["ps", "axo", "args"]).text


def test_a_host_can_be_added_and_removed_while_the_lab_is_up(lab: Town) -> None:
    name = "cloud-" + "x" * 57  # as long as a name may be
    long = LabHost(name, "cloud", "10.30.7.7")
    lab.add_host(long, files={"/opt/hello": b"#!/bin/sh\necho hello from $(dirname $0)\n"})
    lab.add_host(long)
    done = ssh(lab, name, lab.hosts()[name].path("/opt/hello"))
    assert done.stdout.startswith("hello from"), done.stderr
    assert name in lab.path_on_machine("onprem-a", "/etc/hosts").read_text()
    with pytest.raises(LabError, match="is cloud-x+ in this lab"):
        lab.add_host(LabHost("cloud-other", "cloud", "10.30.7.7"))
    lab.remove_host(name)
    lab.remove_host(name)
    assert name not in lab.hosts()
    assert not (lab.folder / "hosts" / name).exists()
    assert name not in lab.known_hosts.read_text()


def test_a_process_of_the_lab_serves_inside_and_outside(lab: Town) -> None:
    program = (
        "import os, socket\n"
        "for number in os.environ['SKERRY_LAB_SOCKETS'].split(','):\n"
        "    if os.fork() == 0:\n"
        "        listener = socket.socket(fileno=int(number))\n"
        "        while True:\n"
        "            listener.accept()[0].sendall(b'here I am')\n"
        "os.wait()\n"
    )
    with lab.listen_outside() as outside, lab.listen_inside(8053) as inside:
        port = outside.getsockname()[1]
        words = ["/usr/bin/python3", "-c", program]
        number = lab.spawn(words, log=lab.folder / "served.log", sockets=[outside, inside])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        assert connection.recv(100) == b"here I am"
    with lab.connect(lab.controller_address, 8053) as connection:
        assert connection.recv(100) == b"here I am"
    ask = f"exec 3<>/dev/tcp/{lab.controller_address}/8053; cat <&3"
    answer = lab.run_inside("onprem-a", ["timeout", "2", "bash", "-c", ask], check=False)
    assert answer.stdout.startswith(b"here I am")
    lab.stop_spawned(number)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    assert lab.status()["processes"] == []


def test_ansible_runs_units_and_becomes_other_users(lab: Town, tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(
        """
- hosts: all
  gather_facts: false
  become: "{{ become }}"
  tasks:
    - ansible.builtin.copy:
        dest: "{{ prefix }}/usr/local/lib/systemd/system/played.service"
        content: "[Service]\\nExecStart=/bin/sleep 600\\n[Install]\\nWantedBy=multi-user.target\\n"
    - ansible.builtin.systemd_service: {name: played, state: started, enabled: true, daemon_reload: true}
      register: first
    - ansible.builtin.systemd_service: {name: played, state: started, enabled: true}
      register: second
    - ansible.builtin.assert: {that: [first.changed, not second.changed]}
    - ansible.builtin.systemd_service: {name: played, state: stopped, enabled: false, masked: true}
    - ansible.builtin.systemd_service: {name: played, state: started}
      register: refused
      failed_when: "'masked' not in refused.msg"
    - ansible.builtin.systemd_service: {name: played, masked: false}
    - ansible.builtin.command: id -un
      become_user: postgres
      when: become and prefix == ''
      register: who
      failed_when: who.stdout != 'postgres'
"""
    )
    host = lab.hosts()["onprem-a"]
    variables = {
        "ansible_host": host.address,
        "ansible_port": host.port,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_common_args": f"-F {lab.ssh_config}",
        "prefix": host.path_prefix,
        "become": host.become,
    }
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {host.name: variables}}}))
    settings = {"ANSIBLE_PIPELINING": "1", "ANSIBLE_SSH_USETTY": "0", "ANSIBLE_HOME": str(tmp_path / "home")}
    sockets = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no", "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp")}
    done = subprocess.run(
        [sys.executable, "-m", "ansible.cli.playbook", "-i", "hosts.json", "play.yml"],
        cwd=tmp_path,
        env={**os.environ, **settings, **sockets},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_up_again_keeps_what_runs_and_adds_what_is_missing(lab: Town) -> None:
    before = lab.run_inside("onprem-a", ["systemctl", "show", "ssh", "-p", "InvocationID", "--value"]).text
    lab.up([ONPREM, CLOUD])
    after = lab.run_inside("onprem-a", ["systemctl", "show", "ssh", "-p", "InvocationID", "--value"]).text
    assert before == after
    assert ssh(lab, "cloud-a", "true").returncode == 0
    assert open_town(lab.folder).kind == lab.kind


def test_the_log_of_ssh_says_when_and_from_where(lab: Town) -> None:
    ssh(lab, "dr-a", "true")
    log = lab.path_on_machine("dr-a", "/var/log/ssh.service.log").read_text()
    accepted = [line for line in log.splitlines() if "Accepted publickey for" in line]
    assert accepted
    assert accepted[-1].startswith(time.strftime("%Y-%m-%dT%H", time.gmtime()))


# -- the life of a lab


@pytest.fixture(params=KINDS)
def unborn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Town]:
    """A lab of one host that is not up yet; at addresses of its own where addresses are shared."""
    town = open_town(tmp_path / "lab", kind=request.param)
    yield town
    town.down()


LONELY = LabHost("onprem-z", "onprem", "10.10.9.9")


@pytest.mark.platform("namespaces")
def test_the_first_process_of_a_host_reaps_whom_nobody_waits_for(tmp_path: Path) -> None:
    town = open_town(tmp_path / "lab", kind="namespaces")
    try:
        town.up([LONELY])
        town.run_inside("onprem-z", ["sh", "-c", "(sleep 0.1 &); systemctl restart ssh; sleep 0.3"])
        script = "tr '\\0' ' ' </proc/1/cmdline; cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*) //' | grep -c '^Z'"
        first, dead = town.run_inside("onprem-z", ["sh", "-c", script], check=False).text.rsplit(" ", 1)
    finally:
        town.down()
    assert first.endswith("systemctl-itself serve")
    assert dead == "0"


def test_down_leaves_no_process_mount_namespace_interface_or_file(unborn: Town) -> None:
    before = traces(unborn.folder)
    unborn.up([LONELY])
    unborn.spawn(["/bin/sleep", "600"], log=unborn.folder / "sleep.log")
    unborn.run_inside("onprem-z", ["sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & "])
    during = traces(unborn.folder)
    assert len(during.processes) >= 3
    assert during.interfaces == before.interfaces
    unborn.down()
    unborn.down()
    after = traces(unborn.folder)
    assert after == before
    assert not after.processes
    assert not (unborn.folder / "control.sock").exists()
    assert not unborn.is_up()
    done = ssh(unborn, "onprem-z", "true")
    assert done.returncode == 255
    if unborn.kind == "namespaces":
        assert "is not up; start it with: skerry lab up" in done.stderr


def test_the_lab_outlives_a_killed_command_and_comes_up_clean_after_everything_was_killed(unborn: Town) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from orchestrator.lab.blueprint import LabHost\nfrom orchestrator.lab.town import open_town\n"
        "open_town(Path(sys.argv[1]), kind=sys.argv[2]).up([LabHost('onprem-z', 'onprem', '10.10.9.9')])\n"
        "print('up', flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(unborn.folder), unborn.kind], stdout=subprocess.PIPE, start_new_session=True
    ) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == b"up\n"
        os.killpg(command.pid, signal.SIGKILL)
    assert ssh(unborn, "onprem-z", "true").returncode == 0
    unborn.place("onprem-z", {"/srv/kept": PlacedFile(b"kept")})
    for row in traces(unborn.folder).processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(row.split()[0]), signal.SIGKILL)
    unborn.up([LONELY])
    assert ssh(unborn, "onprem-z", "true").returncode == 0
    assert unborn.run_inside("onprem-z", ["cat", unborn.hosts()["onprem-z"].path("/srv/kept")]).text == "kept"


def test_killing_the_daemon_alone_is_followed_by_a_clean_start(unborn: Town) -> None:
    unborn.up([LONELY])
    unborn.run_inside("onprem-z", ["sh", "-c", "setsid sleep 600 >/dev/null 2>&1 &"])
    launcher = Process(**json.loads((unborn.folder / "daemon.json").read_text())["processes"][0])
    launcher.signal(signal.SIGKILL)
    while launcher.lives():  # its children may still be about to die
        time.sleep(0.001)
    unborn.up([LONELY])
    assert ssh(unborn, "onprem-z", "true").returncode == 0
    assert (
        "sleep 600" not in unborn.run_inside("onprem-z", ["sh", "-c", "ps xo args"]).text or unborn.kind == "loopback"
    )


def test_two_labs_stand_side_by_side(unborn: Town, tmp_path: Path) -> None:
    unborn.up([LONELY])
    other = open_town(tmp_path / "other", kind=unborn.kind)
    try:
        if unborn.kind == "loopback":
            with pytest.raises(LabError, match=r"127\.10\.9\.9:2222, which is to be onprem-z, is taken") as caught:
                other.up([LONELY])
            assert "Only one loopback lab" in caught.value.hint
            assert not other.is_up()
        else:
            other.up([LONELY])
            assert ssh(other, "onprem-z", "true").returncode == 0
        assert ssh(unborn, "onprem-z", "true").returncode == 0
    finally:
        other.down()


def test_asking_a_lab_that_is_not_up_says_what_to_do(unborn: Town) -> None:
    unborn.folder.mkdir()
    with pytest.raises(LabError, match="is not up") as caught:
        unborn.hosts()
    assert caught.value.hint == "Start it: skerry lab up"
    assert unborn.status()["up"] is False
