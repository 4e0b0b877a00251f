"""Certificates and playbooks on the lab's hosts: real addresses, real sshd, real units."""

import base64
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts.playbooks import PlaybookResult, Playbooks
from orchestrator.contracts.transport import Transport
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import AccessDenied, CommandFailed, HostKeyMismatch, HostUnreachable
from orchestrator.hosts.ansible.playbooks import AnsiblePlaybooks
from orchestrator.hosts.certificates import CertifiedAccess
from orchestrator.hosts.prepared import PreparedPlaybooks, shipped_programs
from orchestrator.hosts.ssh import SshTransports, open_transports
from orchestrator.lab.blueprint import LabHost, PlacedFile, Unit
from orchestrator.lab.town import Town
from orchestrator.model.host import Host
from orchestrator.survey.access import HostAccessLog
from tests.laws.playbooks_laws import VARIABLES, PlaybooksLaws
from tests.laws.transfer_access_laws import TransferAccessLaws
from tests.laws.transport_laws import TransportLaws
from tests.unit.test_ready_hand import ends_with_its_caller

pytestmark = pytest.mark.platform("hosts")

SHIPPED = Path(__file__).parents[2] / "playbooks"


@pytest.fixture
def transports(town: Town, tmp_path: Path) -> Iterator[SshTransports]:
    with open_transports(town.ssh_config, tmp_path / "run") as opened:
        yield opened


@pytest.fixture
def initiator(town: Town) -> Host:
    return town.hosts()["dr-a"]


@pytest.fixture
def peer(town: Town) -> Host:
    return town.hosts()["onprem-a"]


class TestTransportToLabHosts(TransportLaws):
    @pytest.fixture
    def transport(self, transports: SshTransports, peer: Host) -> Any:
        return transports(peer)

    @pytest.fixture
    def folder(self, transports: SshTransports, peer: Host) -> Iterator[str]:
        made = transports(peer).run(["mktemp", "-d", "/tmp/transport-laws-XXXXXX"]).text
        yield made
        transports(peer).run(["rm", "-rf", made])


class TestCertifiedAccess(TransferAccessLaws):
    @pytest.fixture
    def access(self, town: Town, transports: SshTransports) -> CertifiedAccess:
        return CertifiedAccess(transports, town.user_ca)

    @pytest.fixture
    def bystander(self, town: Town) -> Host:
        return town.hosts()["cloud-a"]

    @pytest.fixture
    def peer_user(self, peer: Host) -> str:
        return peer.user

    def test_the_certificate_allows_nothing_else(
        self, access: CertifiedAccess, transports: SshTransports, initiator: Host, peer: Host, peer_user: str
    ) -> None:
        with access.grant(initiator, peer, force_command="true", seconds=60, peer_user=peer_user) as granted:
            identity = next(word for word in granted.ssh_words if word.startswith("CertificateFile="))
            file = identity.removeprefix("CertificateFile=")
            shown = transports(initiator).run(["ssh-keygen", "-L", "-f", file]).text
            forward = ["-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:22"]
            forwarded = transports(initiator).run(
                [*granted.ssh_words, *forward, granted.destination], check=False, timeout_seconds=10
            )
        assert "Extensions: (none)" in shown
        assert f"source-address {initiator.address}/32" in shown
        assert "force-command true" in shown
        assert forwarded.exit_code != 0

    def test_the_certificate_is_for_minutes_and_for_one_user(
        self, access: CertifiedAccess, transports: SshTransports, initiator: Host, peer: Host, peer_user: str
    ) -> None:
        with access.grant(initiator, peer, force_command="id -un", seconds=120, peer_user=peer_user) as granted:
            identity = next(word for word in granted.ssh_words if word.startswith("CertificateFile="))
            file = identity.removeprefix("CertificateFile=")
            shown = transports(initiator).run(["ssh-keygen", "-L", "-f", file], environment={"TZ": "UTC"}).text
            other = [*granted.ssh_words[:-1], "nobody", granted.destination]
            refused = transports(initiator).run(other, check=False)
            loud = transports(initiator).run([*granted.ssh_words, "-v", granted.destination])
        valid = next(line.split() for line in shown.splitlines() if "Valid: from" in line)
        begin, end = (datetime.fromisoformat(word) for word in (valid[2], valid[4]))
        assert end - begin <= timedelta(seconds=120 + 300 + 60)  # ours, what clocks may differ, and a whole minute
        principals = shown.partition("Principals:")[2].partition("Critical")[0].split()
        assert principals == [loud.text] == [transports.configuration(peer).user]
        assert refused.exit_code == 255
        assert b"Permission denied" in refused.stderr
        assert b"cipher: aes128-gcm@openssh.com MAC: <implicit> compression: none" in loud.stderr

    def test_a_certificate_of_another_ca_and_one_that_was_altered_are_refused(
        self, town: Town, transports: SshTransports, initiator: Host, peer: Host, peer_user: str, tmp_path: Path
    ) -> None:
        stranger = tmp_path / "ca"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)], check=True)
        other = CertifiedAccess(transports, stranger)
        with other.grant(initiator, peer, force_command="id", seconds=60, peer_user=peer_user) as granted:
            answer = transports(initiator).run([*granted.ssh_words, granted.destination], check=False)
        assert (answer.exit_code, b"Permission denied" in answer.stderr) == (255, True)
        ours = CertifiedAccess(transports, town.user_ca)
        with ours.grant(initiator, peer, force_command="true", seconds=60, peer_user=peer_user) as granted:
            identity = next(word for word in granted.ssh_words if word.startswith("CertificateFile="))
            file = identity.removeprefix("CertificateFile=")
            kind, body, *rest = transports(initiator).read_file(file).decode().split()
            altered = base64.b64encode(base64.b64decode(body).replace(b"true", b"id  ")).decode()
            assert altered != body
            transports(initiator).write_file(file, " ".join([kind, altered, *rest]).encode(), mode=0o600)
            answer = transports(initiator).run([*granted.ssh_words, granted.destination], check=False)
        assert (answer.exit_code, b"Permission denied" in answer.stderr) == (255, True)

    def test_the_initiator_trusts_the_key_we_trust_and_no_other(
        self, access: CertifiedAccess, transports: SshTransports, initiator: Host, peer: Host, peer_user: str
    ) -> None:
        with access.grant(initiator, peer, force_command="true", seconds=60, peer_user=peer_user) as granted:
            known = next(word for word in granted.ssh_words if word.startswith("UserKnownHostsFile="))
            path = known.removeprefix("UserKnownHostsFile=")
            make = "rm -f /tmp/k; ssh-keygen -q -t ed25519 -N '' -f /tmp/k; cat /tmp/k.pub; rm -f /tmp/k /tmp/k.pub"
            other = transports(initiator).run(["sh", "-c", make])
            name = transports(initiator).read_file(path).split()[0].decode()
            transports(initiator).write_file(path, f"{name} {' '.join(other.text.split()[:2])}\n".encode(), mode=0o600)
            answer = transports(initiator).run([*granted.ssh_words, granted.destination], check=False)
        assert answer.exit_code == 255
        assert b"REMOTE HOST IDENTIFICATION HAS CHANGED" in answer.stderr

    def test_a_peer_whose_key_is_unknown_gets_no_visitor(
        self, town: Town, initiator: Host, peer: Host, tmp_path: Path
    ) -> None:
        with open_transports(town.ssh_config, tmp_path / "unknown") as opened:
            stranger = peer.model_copy(update={"name": "stranger", "address": peer.address[:-1] + "9"})
            access = CertifiedAccess(opened, town.user_ca)
            with (
                pytest.raises(HostKeyMismatch, match="no host key is known"),
                access.grant(initiator, stranger, force_command="true", seconds=60, peer_user="root"),
            ):
                pass

    def test_a_missing_ca_is_named(
        self, transports: SshTransports, initiator: Host, peer: Host, tmp_path: Path
    ) -> None:
        access = CertifiedAccess(transports, tmp_path / "no-ca")
        with (
            pytest.raises(AccessDenied, match="no-ca") as caught,
            access.grant(initiator, peer, force_command="true", seconds=60, peer_user="root"),
        ):
            pass
        assert "transfer_ca" in caught.value.hint
        left = transports(initiator).run(
            ["sh", "-c", "ls -d /run/skerry-access-* /dev/shm/skerry-access-*"], check=False
        )
        assert left.text == ""

    def test_the_peers_own_record_shows_the_visit(
        self, access: CertifiedAccess, transports: SshTransports, initiator: Host, peer: Host, peer_user: str
    ) -> None:
        log = HostAccessLog(transports, SystemClock())
        before = log.read(peer, (5432,))
        again = log.read(peer, (5432,))
        assert before.ssh_sessions == again.ssh_sessions
        with access.grant(initiator, peer, force_command="true", seconds=60, peer_user=peer_user) as granted:
            transports(initiator).run([*granted.ssh_words, granted.destination])
        after = log.read(peer, (5432,))
        assert after.ssh_sessions[initiator.address] == before.ssh_sessions.get(initiator.address, 0) + 1
        assert after.database_peers == {}


PLAYS = {
    "works": """
- hosts: all
  gather_facts: false
  become: "{{ skerry_become }}"
  tasks:
    - ansible.builtin.command: "echo {{ word }}"
    - ansible.builtin.set_stats:
        per_host: true
        data: {skerry_result: {side: "{{ skerry_side }}"}}
""",
    "fails": """
- hosts: all
  gather_facts: false
  tasks:
    - name: Judge
      ansible.builtin.fail: {msg: "expected 200, saw 503"}
""",
    "lasts": """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.command: sleep 40
""",
}


class TestAnsiblePlaybooks(PlaybooksLaws):
    @pytest.fixture
    def playbooks(self, transports: SshTransports, tmp_path: Path) -> Iterator[AnsiblePlaybooks]:
        folder = tmp_path / "books"
        folder.mkdir()
        for name, text in PLAYS.items():
            (folder / f"{name}.yml").write_text(text)
        yield AnsiblePlaybooks(transports, folder, tmp_path / "plays")
        # The law of every one of these tests: nothing is kept on disk, and no process is left.
        assert list((tmp_path / "plays").glob("*")) == []
        assert processes_of(tmp_path) == []

    @pytest.fixture
    def host(self, peer: Host) -> Host:
        return peer

    @pytest.fixture
    def other(self, initiator: Host) -> Host:
        return initiator

    def test_secrets_of_our_environment_reach_no_play(
        self, playbooks: AnsiblePlaybooks, host: Host, tmp_path: Path
    ) -> None:
        (tmp_path / "books" / "looks.yml").write_text(
            """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.set_stats:
        per_host: true
        data: {skerry_result: {seen: "{{ lookup('ansible.builtin.env', 'AWS_SECRET_ACCESS_KEY') }}"}}
"""
        )
        os.environ["AWS_SECRET_ACCESS_KEY"] = "hush"
        try:
            result = playbooks.run("looks", hosts=[host], variables=VARIABLES, timeout_seconds=60)
        finally:
            del os.environ["AWS_SECRET_ACCESS_KEY"]
        assert result.results == {host.name: {"seen": ""}}

    def test_a_host_that_is_not_there_is_known_before_anything_is_done(
        self, playbooks: AnsiblePlaybooks, host: Host
    ) -> None:
        gone = host.model_copy(update={"name": "gone", "port": 1})
        with pytest.raises((HostUnreachable, HostKeyMismatch)):
            playbooks.run("works", hosts=[host, gone], variables=VARIABLES, timeout_seconds=60)

    def test_a_broken_playbook_fails_and_says_why(
        self, playbooks: AnsiblePlaybooks, host: Host, tmp_path: Path
    ) -> None:
        (tmp_path / "books" / "broken.yml").write_text("- hosts: all\n  tasks:\n    - no.such.module: {}\n")
        result = playbooks.run("broken", hosts=[host], variables=VARIABLES, timeout_seconds=60)
        assert result.status == "failed"
        assert "no.such.module" in " ".join(result.failures)

    def test_our_handlers_of_signals_stay(self, playbooks: AnsiblePlaybooks, host: Host) -> None:
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        playbooks.run("works", hosts=[host], variables=VARIABLES, timeout_seconds=60)
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


PROGRAMS = {
    "works": """
import json, sys
asked = json.loads(sys.argv[1])
print(json.dumps({"changed": True, "report": {"side": asked["side"]}}))
""",
    "fails": """
import sys
print("expected 200, saw 503", file=sys.stderr)
sys.exit(1)
""",
    "lasts": """
import time
time.sleep(40)
""",
    "speechless": "",
}


class TestPreparedPlaybooks(PlaybooksLaws):
    @pytest.fixture
    def playbooks(self, transports: SshTransports, tmp_path: Path) -> PreparedPlaybooks:
        for name, text in PROGRAMS.items():
            (tmp_path / f"{name}.py").write_text(text)
        return PreparedPlaybooks(transports, {name: tmp_path / f"{name}.py" for name in PROGRAMS})

    @pytest.fixture
    def host(self, peer: Host) -> Host:
        return peer

    @pytest.fixture
    def other(self, initiator: Host) -> Host:
        return initiator

    def test_a_host_that_is_not_there_is_known_before_anything_is_done(
        self, playbooks: PreparedPlaybooks, host: Host
    ) -> None:
        gone = host.model_copy(update={"name": "gone", "port": 1})
        with pytest.raises((HostUnreachable, HostKeyMismatch)):
            playbooks.run("works", hosts=[host, gone], variables=VARIABLES, timeout_seconds=60)

    def test_a_program_that_reports_nothing_has_failed(self, playbooks: PreparedPlaybooks, host: Host) -> None:
        result = playbooks.run("speechless", hosts=[host], variables=VARIABLES, timeout_seconds=60)
        assert result.status == "failed"
        assert "said nothing" in result.failures[0]

    def test_a_program_that_lasts_is_ended_on_the_host_too(
        self, playbooks: PreparedPlaybooks, transports: SshTransports, host: Host
    ) -> None:
        marked = VARIABLES | {"skerry_side": "side-4711"}
        result = playbooks.run("lasts", hosts=[host], variables=marked, timeout_seconds=2)
        assert result.status == "timed_out"
        assert processes_there(transports(host), "side-", "4711") == 0


def processes_there(transport: Transport, word: str, rest: str) -> int:
    """How many on the host name `word` and `rest` joined: split, so that the search does not find itself."""
    search = (
        "import glob, sys; word = (sys.argv[1] + sys.argv[2]).encode()\n"
        "print(sum(word in open(name, 'rb').read() for name in glob.glob('/proc/[0-9]*/cmdline')))"
    )
    return int(transport.run(["python3", "-c", search, word, rest]).text)


def processes_of(folder: Path) -> list[str]:
    """Command lines on this machine that name `folder`; a process that is just going gets a moment."""
    deadline = time.monotonic() + 5
    while True:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if str(folder) in words and "ssh -F" not in words:
                    found.append(words)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


CHILD = """
import sys
from pathlib import Path
from orchestrator.hosts.ansible.playbooks import AnsiblePlaybooks
from orchestrator.hosts.ssh import open_transports
from orchestrator.model.host import Host
host, config, run, books, plays = Host.model_validate_json(sys.argv[1]), *map(Path, sys.argv[2:6])
playbooks = AnsiblePlaybooks(open_transports(config, run), books, plays)
playbooks.run(
    "lasts", hosts=[host], variables={}, timeout_seconds=float(sys.argv[6]),
    on_event=lambda event: print(event.event, flush=True),
)
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_our_death_ends_the_play_and_its_folder(town: Town, peer: Host, tmp_path: Path, ending: signal.Signals) -> None:
    die_while_a_play_lasts(town, peer, tmp_path, ending, play=PLAYS["lasts"], seconds_max=600)
    assert processes_of(tmp_path) == []
    deadline = time.monotonic() + 10
    while list((tmp_path / "plays").glob("*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list((tmp_path / "plays").glob("*")) == []


def test_what_a_dead_play_left_running_on_its_host_ends_there_in_time(
    town: Town, peer: Host, transports: SshTransports, tmp_path: Path
) -> None:
    def runs_there() -> bool:
        return processes_there(transports(peer), "4711", ".25") > 0

    lasts = PLAYS["lasts"].replace("sleep 40", "sleep 4711.25")
    die_while_a_play_lasts(town, peer, tmp_path, signal.SIGKILL, play=lasts, seconds_max=20, begun=runs_there)
    deadline = time.monotonic() + 60
    while runs_there():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def die_while_a_play_lasts(
    town: Town,
    peer: Host,
    folder: Path,
    ending: signal.Signals,
    *,
    play: str,
    seconds_max: float,
    begun: Callable[[], bool] = lambda: True,
) -> None:
    books, plays = folder / "books", folder / "plays"
    books.mkdir()
    (books / "lasts.yml").write_text(play)
    arguments = [peer.model_dump_json(), str(town.ssh_config), str(folder / "run"), str(books), str(plays)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-c", CHILD, *arguments, str(seconds_max)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as child:
        assert child.stdout is not None
        while b"runner_on_start" not in child.stdout.readline():
            continue
        while not begun():
            time.sleep(0.1)
        child.send_signal(ending)
        child.wait(timeout=20)


WEB = """
import http.server, json, os, pathlib, signal, sys
answers = json.loads(pathlib.Path(sys.argv[1]).read_text())
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = answers.get(self.path, [404, {}])
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *words): pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.ThreadingHTTPServer((sys.argv[2], int(sys.argv[3])), Handler).serve_forever()
"""
ANSWERS = {
    "/healthz": [200, {"read_only": False, "index": {"state": "ready"}, "count": 7}],
    "/missing": [503, {"index": "missing"}],
}


@pytest.fixture(scope="module")
def served(town: Town) -> Host:
    """A host with two units: `web-app`, which needs `web-store`; both stopped and disabled."""
    name, address = "onprem-play", "10.10.1.77"
    actual = town.address(address)

    def unit(unit_name: str, port: int) -> Unit:
        prefix = str(town.path_on_machine(name, "/")).rstrip("/") if town.kind == "loopback" else ""
        text = (
            f"[Unit]\nDescription={unit_name}\n[Service]\n"
            f"ExecStart=/usr/bin/python3 {prefix}/opt/web.py {prefix}/opt/answers.json {actual} {port}\n"
            "[Install]\nWantedBy=multi-user.target\n"
        )
        files = {
            "/opt/web.py": PlacedFile(WEB.encode()),
            "/opt/answers.json": PlacedFile(json.dumps(ANSWERS).encode()),
        }
        return Unit(unit_name, text, files)

    town.add_host(LabHost(name, "onprem", address, services=(unit("web-store", 8091), unit("web-app", 8090))))
    return town.hosts()[name]


@pytest.fixture(params=["ansible", "prepared"])
def shipped(transports: SshTransports, tmp_path: Path, request: pytest.FixtureRequest) -> Playbooks:
    """The same deeds, both ways."""
    if request.param == "prepared":
        return PreparedPlaybooks(transports, shipped_programs(SHIPPED))
    return AnsiblePlaybooks(transports, SHIPPED, tmp_path / "plays")


NUMBERS = itertools.count(10, 10)  # a host obeys no order that is older than one it has obeyed


@pytest.fixture
def number() -> int:
    return next(NUMBERS)


def variables(host: Host, *, number: int = 2, checks: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "skerry_system": "play",
        "skerry_side": "source",
        "skerry_services": [
            {"name": "web-store", "port": 8091, "address": host.address},
            {"name": "web-app", "port": 8090, "address": host.address},
        ],
        "skerry_databases": [],
        "skerry_fence": {"number": number, "side": "source", "at": "2026-11-21T23:00:00.000Z"},
        "skerry_checks": checks or [],
    }


def well(result: PlaybookResult) -> PlaybookResult:
    assert result.status == "successful", result.failures
    return result


def changed(playbooks: Playbooks, name: str, host: Host, **values: Any) -> int:
    """How many tasks changed something."""
    events: list[bool] = []
    well(
        playbooks.run(
            name,
            hosts=[host],
            variables=variables(host, **values),
            timeout_seconds=90,
            on_event=lambda event: events.append(event.changed and event.event == "runner_on_ok"),
        )
    )
    return sum(events)


def units(transports: SshTransports, host: Host) -> dict[str, str]:
    user = "root" if host.become else None
    return {
        name: transports(host).run(["systemctl", "is-active", name], user=user, check=False).text
        for name in ("web-store", "web-app")
    }


def test_start_and_drain_do_so_once(served: Host, shipped: Playbooks, transports: SshTransports, number: int) -> None:
    assert changed(shipped, "start", served, number=number) > 0
    assert units(transports, served) == {"web-store": "active", "web-app": "active"}
    assert changed(shipped, "start", served, number=number) == 0
    assert changed(shipped, "drain", served) > 0
    assert units(transports, served) == {"web-store": "inactive", "web-app": "inactive"}
    assert changed(shipped, "drain", served) == 0


def test_check_tells_every_observed_value(served: Host, shipped: Playbooks, number: int) -> None:
    changed(shipped, "start", served, number=number)
    url = f"http://{served.address}:8090"
    good = {"name": "up", "url": f"{url}/healthz", "expected_status": 200, "level": "technical"}
    checks = [{**good, "expected": {"read_only": False, "index.state": "ready"}}]
    result = well(shipped.run("check", hosts=[served], variables=variables(served, checks=checks), timeout_seconds=60))
    told = result.results[served.name]["checks"]["up"]
    assert told["passed"] is True
    assert told["observed"] == {"read_only": False, "index.state": "ready"}

    bad = [
        {**good, "expected": {"read_only": True, "count": 7}},
        {**good, "name": "gone", "url": f"{url}/nowhere", "expected": {}},
        {**good, "name": "shut", "url": f"http://{served.address}:8099/", "expected": {}},
        {**good, "name": "sick", "url": f"{url}/missing", "expected": {"index": "ready"}},
    ]
    result = shipped.run("check", hosts=[served], variables=variables(served, checks=bad), timeout_seconds=60)
    assert result.status == "failed"
    message = result.failures[0]
    assert "read_only is false, expected true" in message
    assert "gone: status 404, expected status 200" in message
    assert "shut: no answer" in message
    assert 'index is "missing", expected "ready"' in message
    observed = result.results[served.name]["checks"]
    assert observed["up"]["observed"] == {"read_only": False, "count": 7}
    assert {name: check["passed"] for name, check in observed.items()} == dict.fromkeys(
        ("up", "gone", "shut", "sick"), False
    )


def test_a_fenced_side_cannot_be_started_and_an_unfenced_one_can(
    served: Host, shipped: Playbooks, transports: SshTransports, number: int
) -> None:
    user = "root" if served.become else None
    changed(shipped, "start", served, number=number)
    result = well(shipped.run("fence", hosts=[served], variables=variables(served, number=number), timeout_seconds=90))
    told = result.results[served.name]
    assert told["fence"] == {"number": number, "side": "source", "at": "2026-11-21T23:00:00.000Z"}
    assert {name: (state["active"], state["port_open"]) for name, state in told["services"].items()} == {
        "web-store": ("inactive", False),
        "web-app": ("inactive", False),
    }
    assert changed(shipped, "fence", served, number=number) == 0
    record = json.loads(transports(served).read_file(served.path("/etc/skerry/fence/play.json"), user=user))
    assert record["number"] == number
    for _ in range(2):
        started = transports(served).run(["systemctl", "start", "web-app"], user=user, check=False)
        assert started.exit_code != 0
    # Also not by somebody who unmasks it: the guard stands before the start.
    transports(served).run(["systemctl", "unmask", "web-app"], user=user)
    started = transports(served).run(["systemctl", "start", "web-app"], user=user, check=False)
    assert started.exit_code != 0
    assert units(transports, served)["web-app"] != "active"
    values = variables(served, number=number)
    assert shipped.run("start", hosts=[served], variables=values, timeout_seconds=90).status == "failed"
    # An older holder may neither fence nor lift it.
    for name in ("fence", "unfence"):
        refused = shipped.run(name, hosts=[served], variables=variables(served, number=number - 1), timeout_seconds=90)
        assert refused.status == "failed"
        assert f"fenced by number {number}, which is newer than {number - 1}" in refused.failures[0]
    newer = variables(served, number=number + 1)
    lifted = well(shipped.run("unfence", hosts=[served], variables=newer, timeout_seconds=90))
    assert lifted.results[served.name]["lifted"]["number"] == number
    assert changed(shipped, "unfence", served, number=number + 1) == 0
    late = shipped.run("start", hosts=[served], variables=values, timeout_seconds=90)
    assert late.status == "failed"
    assert "came too late" in late.failures[0] or "which is newer than" in late.failures[0]
    assert units(transports, served)["web-app"] != "active"
    assert changed(shipped, "start", served, number=number + 1) > 0
    assert units(transports, served) == {"web-store": "active", "web-app": "active"}
    changed(shipped, "drain", served)


def test_a_fenced_side_stays_fenced_after_a_reboot(
    town: Town, served: Host, shipped: Playbooks, transports: SshTransports, number: int
) -> None:
    changed(shipped, "start", served, number=number)
    changed(shipped, "fence", served, number=number)
    town.power_off(served.name)
    town.power_on(served.name)
    transports(served).forget()
    assert "active" not in units(transports, served).values()
    changed(shipped, "unfence", served, number=number)


def test_a_fence_on_a_unit_that_is_not_there_fails(served: Host, shipped: Playbooks) -> None:
    values = variables(served)
    values["skerry_services"] = [{"name": "no-such", "port": 8098, "address": served.address}]
    values["skerry_system"] = "absent"
    result = shipped.run("fence", hosts=[served], variables=values, timeout_seconds=90)
    assert result.status == "failed"
    assert "no-such.service does not exist" in result.failures[0]


def test_a_database_may_start_behind_the_fence_only_as_a_standby(
    served: Host, shipped: Playbooks, transports: SshTransports, number: int
) -> None:
    user = "root" if served.become else None
    values = variables(served, number=number)
    values["skerry_services"] = []
    values["skerry_databases"] = [
        {"name": "web-store", "port": 8091, "data_directory": "/srv/store", "host": served.name}
    ]
    transports(served).run(["mkdir", "-p", served.path("/srv/store")], user=user)
    transports(served).run(["rm", "-f", served.path("/srv/store/standby.signal")], user=user)
    well(shipped.run("fence", hosts=[served], variables=values, timeout_seconds=90))
    assert transports(served).run(["systemctl", "start", "web-store"], user=user, check=False).exit_code != 0
    transports(served).write_file(served.path("/srv/store/standby.signal"), b"", user=user)
    transports(served).run(["systemctl", "start", "web-store"], user=user)
    transports(served).run(["systemctl", "stop", "web-store"], user=user)
    well(shipped.run("unfence", hosts=[served], variables=values, timeout_seconds=90))


def test_a_host_that_loses_power_in_the_middle_of_a_command(
    town: Town, served: Host, transports: SshTransports
) -> None:
    transport = transports(served)
    started: list[float] = []

    def cut(line: str) -> None:
        started.append(time.monotonic())
        town.power_off(served.name)

    with pytest.raises((HostUnreachable, CommandFailed), match="unknown|killed"):
        transport.run(["sh", "-c", "echo begun; sleep 60"], on_line=cut)
    assert time.monotonic() - started[0] < 30
    with pytest.raises(HostUnreachable):
        transport.run(["true"])
    town.power_on(served.name)
    assert transport.run(["printf", "back"]).text == "back"


def test_a_command_that_ignores_its_end_is_killed_when_its_caller_is_gone(tmp_path: Path) -> None:
    ends_with_its_caller(tmp_path / "pid", "trap '' TERM; sleep 60; sleep 60")
