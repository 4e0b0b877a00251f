"""Bubbles on a real host: namespaces, layers, units; nothing gets out, nothing is changed, nothing is left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.contracts.bubbles import BubbleData, BubbleService, ForbiddenTarget
from orchestrator.contracts.transport import Transport
from orchestrator.foundation.errors import CommandFailed, DataError
from orchestrator.hosts.bubbles import ROOT, HostBubbles
from orchestrator.hosts.ssh import SshTransport, SshTransports, open_transports
from orchestrator.lab.blueprint import LabHost, PlacedFile, Unit
from orchestrator.lab.town import Town, open_town
from orchestrator.model.host import Host
from tests.laws.transport_laws import TransportLaws

pytestmark = [pytest.mark.platform("hosts"), pytest.mark.platform("namespaces")]

PORT = 8099
APP = f"""\
import http.server, os, sys
os.chdir("/srv/app")
open("/srv/app/started", "w").write("here")
http.server.test(http.server.SimpleHTTPRequestHandler, port={PORT}, bind=os.environ["ADDRESS"])
"""
UNIT = """[Unit]
Description=An application that writes to its data when it starts
[Service]
EnvironmentFile=/etc/app.env
ExecStart=/usr/bin/python3 /opt/app/app.py
[Install]
WantedBy=multi-user.target
"""
WEB = Unit(
    "app",
    UNIT,
    {"/opt/app/app.py": PlacedFile(APP.encode()), "/etc/app.env": PlacedFile(b"ADDRESS=10.20.1.11\n")},
)
LISTENER = """
import socket, time
server = socket.socket(socket.AF_UNIX)
server.bind("/srv/door.sock")
server.listen()
time.sleep(600)
"""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    lab = open_town(tmp_path_factory.mktemp("bubbles") / "lab")
    lab.up([LabHost("onprem-a", "onprem", "10.10.1.11"), LabHost("dr-a", "dr", "10.20.1.11", services=(WEB,))])
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture
def transports(town: Town, tmp_path: Path) -> Iterator[SshTransports]:
    with open_transports(town.ssh_config, tmp_path / "run") as opened:
        yield opened


@pytest.fixture
def host(town: Town) -> Host:
    return town.hosts()["dr-a"]


@pytest.fixture
def there(transports: SshTransports, host: Host) -> SshTransport:
    return transports(host)


@pytest.fixture
def bubbles(transports: SshTransports, host: Host, there: SshTransport) -> Iterator[HostBubbles]:
    sh(there, "mkdir -p /srv/app /srv/held && echo production > /srv/app/state && echo held > /srv/held/state")
    made = HostBubbles(transports, lease_seconds=LEASE_SECONDS)
    yield made
    for name in made.listed(host):
        made.close(host, name)
    sh(there, "rm -rf /srv/app /srv/held")


HELD = BubbleData(name="state", held="/srv/held", places=(("", "/srv/app"),))
SERVICE = BubbleService(name="app", address="10.20.1.11", port=PORT)
LEASE_SECONDS = 4.0
GET = f"import urllib.request; print(urllib.request.urlopen('http://10.20.1.11:{PORT}/state').read().decode())"


def sh(there: SshTransport, words: str) -> str:
    return there.run(["sh", "-c", words], user="root" if there.host.become else None).text


def python(bubbles: HostBubbles, host: Host, program: str) -> str:
    return bubbles.transport(host, "one").run(["python3", "-c", program]).text


def opened(bubbles: HostBubbles, host: Host, name: str = "one", *, seconds_max: float = 120) -> None:
    bubbles.open(host, name, [HELD], ["app"], seconds_max=seconds_max)


def test_held_data_serves_within_and_production_sees_nothing(
    bubbles: HostBubbles, host: Host, there: SshTransport
) -> None:
    before = bubbles.shown(host, ["app"])
    [clone] = bubbles.open(host, "one", [HELD], ["app"], seconds_max=120)
    assert clone.how in ("overlay", "reflink", "copy")
    [started] = bubbles.start(host, "one", [SERVICE], [])
    assert started.port == PORT
    assert python(bubbles, host, GET) == "held"
    assert sh(there, "cat /srv/app/state; ls /srv/app /srv/held") == "production\n/srv/app:\nstate\n\n/srv/held:\nstate"
    assert bubbles.shown(host, ["app"]) == before
    assert not bubbles.close(host, "one").any
    assert bubbles.shown(host, ["app"]) == before
    assert sh(there, f"ls {ROOT}; cat /srv/held/state") == "held"


def test_every_attempt_to_get_out_fails_and_is_told(
    bubbles: HostBubbles, host: Host, there: SshTransport, town: Town
) -> None:
    await_door = "until [ -S /srv/door.sock ]; do sleep 0.05; done"
    listener = sh(there, f"setsid python3 -c '{LISTENER}' >/dev/null 2>&1 & {await_door}; echo $!")
    try:
        opened(bubbles, host)
        source = town.hosts()["onprem-a"]
        targets = [
            ForbiddenTarget(name="source", address=source.address, port=22),
            ForbiddenTarget(name="names", address="10.10.0.1", port=53, datagram=True),
            ForbiddenTarget(name="itself", address=host.address, port=22),
        ]
        found = bubbles.prove(host, "one", targets)
    finally:
        sh(there, f"kill {listener}; rm -f /srv/door.sock")
    assert found.isolated, [each for each in found.attempts if each.reached]
    network = {each.target: each.outcome for each in found.attempts if each.attempt == "network"}
    assert network == {
        f"source {source.address}:22": "Network is unreachable",
        "names 10.10.0.1:53": "Network is unreachable",
    }
    assert "/srv/door.sock" in {each.target for each in found.attempts if each.attempt == "socket"}
    assert {"/", "/etc", "/var"} <= {each.target for each in found.attempts if each.attempt == "write"}
    assert [each.outcome for each in found.attempts if each.attempt == "interfaces"] == ["lo"]


def test_a_way_out_is_found(bubbles: HostBubbles, host: Host, there: SshTransport) -> None:
    """Someone on the host gives the bubble a second interface, and a mount that may be written."""
    opened(bubbles, host)
    keeper = sh(there, f"sed 's/.*\"keeper\": \\([0-9]*\\).*/\\1/' {ROOT}/one/note.json")
    sh(there, f"ip link add way type veth peer name out && ip link set out netns {keeper}")
    sh(there, f"nsenter -t {keeper} -m mount -t tmpfs tmpfs /home")
    found = bubbles.prove(host, "one", [])
    assert not found.isolated
    assert {(each.attempt, each.target) for each in found.attempts if each.reached} == {
        ("interfaces", ""),
        ("write", "/home"),
    }


def test_what_an_ended_bubble_left_is_swept_by_the_next(bubbles: HostBubbles, host: Host, there: SshTransport) -> None:
    """Somebody killed all of it, what would have erased it too."""
    opened(bubbles, host)
    note = json.loads(sh(there, f"cat {ROOT}/one/note.json"))
    sh(there, f"kill -9 {note['reaper']} {note['keeper']}")
    assert list(bubbles.listed(host)) == ["one"]
    opened(bubbles, host, "two")
    assert list(bubbles.listed(host)) == ["two"]


def test_what_was_started_is_stopped_and_its_writes_reach_a_second_clone(
    bubbles: HostBubbles, host: Host, there: SshTransport
) -> None:
    back = HELD.model_copy(update={"name": "state-back", "places": (("", "/run/back/state"),)})
    bubbles.open(host, "one", [HELD, back], ["app"], seconds_max=120)
    bubbles.start(host, "one", [SERVICE], [])
    inside = bubbles.transport(host, "one")
    assert inside.run(["ls", "/srv/app", "/run/back/state"]).text.split() == [
        *("/run/back/state:", "state", "/srv/app:", "started", "state"),
    ]
    bubbles.stop(host, "one", ["app", "nothing"])
    with pytest.raises(CommandFailed, match="Connection refused"):
        python(bubbles, host, GET)
    inside.run(["rsync", "-aHAX", "--delete", "/srv/app/", "/run/back/state/"])
    assert inside.run(["cat", "/run/back/state/started"]).text == "here"
    assert sh(there, "ls /srv/held /srv/app") == "/srv/app:\nstate\n\n/srv/held:\nstate"


def test_what_runs_within_has_lost_what_could_undo_the_walls(
    bubbles: HostBubbles, host: Host, there: SshTransport
) -> None:
    opened(bubbles, host)
    [_] = bubbles.start(host, "one", [SERVICE], [])
    look = (
        "import glob\n"
        "for path in glob.glob('/proc/[0-9]*/status'):\n"
        "    text = open(path).read()\n"
        "    if 'python3' in text and 'PPid:\\t1\\n' in text or 'PPid:\\t0\\n' in text: print(path, text)\n"
    )
    said = python(bubbles, host, look)
    effective = {int(line.split()[1], 16) for line in said.splitlines() if line.startswith("CapEff")}
    sys_admin, net_admin = 1 << 21, 1 << 12
    assert any(not caps & sys_admin and not caps & net_admin for caps in effective)
    devices = python(bubbles, host, "import os; print(sorted(os.listdir('/dev')))")
    assert "null" in devices
    assert not [name for name in ("sda", "vda", "mem", "kmsg", "mapper") if f"'{name}'" in devices]


def test_no_other_user_of_the_host_enters_or_reads_it(bubbles: HostBubbles, host: Host, there: SshTransport) -> None:
    opened(bubbles, host)
    bubbles.start(host, "one", [SERVICE], [])
    keeper = sh(there, f"sed 's/.*\"keeper\": \\([0-9]*\\).*/\\1/' {ROOT}/one/note.json")
    ways_in = {
        "namespaces": f"nsenter -t {keeper} -m -n cat /srv/app/state",
        "process": f"cat /proc/{keeper}/root/srv/app/state",
        "folder": f"ls {ROOT}/one",
        "service": f'python3 -c "{GET}"',
    }
    somebody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    for way, words in ways_in.items():
        done = there.run(["sh", "-c", f"{somebody} {words}"], user="root" if host.become else None, check=False)
        said = done.stderr.decode()
        assert done.exit_code != 0, way
        assert any(why in said for why in ("ermission denied", "not permitted", "refused")), (way, said)
    assert python(bubbles, host, GET) == "held", "whoever drills is let in"


def test_a_second_bubble_waits_for_the_first(bubbles: HostBubbles, host: Host) -> None:
    opened(bubbles, host)
    with pytest.raises(DataError, match="a bubble is here already: one"):
        opened(bubbles, host, "two")
    assert list(bubbles.listed(host)) == ["one"]


def test_a_bubble_ends_by_itself_and_is_erased_whoever_lives(
    bubbles: HostBubbles, host: Host, there: SshTransport
) -> None:
    opened(bubbles, host, seconds_max=8)
    bubbles.start(host, "one", [SERVICE], [])
    deadline = time.monotonic() + 60
    while "app.py" in sh(there, "ps -e -o args= || true") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "/opt/app/app.py" not in sh(there, "ps -e -o args= || true")
    while bubbles.listed(host) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sh(there, f"ls {ROOT}") == ""
    with pytest.raises(DataError, match="there is no bubble one"):
        bubbles.prove(host, "one", [])
    opened(bubbles, host, "two")
    assert list(bubbles.listed(host)) == ["two"]


OPENER = """
import sys
from pathlib import Path
from orchestrator.contracts.bubbles import BubbleData
from orchestrator.hosts.bubbles import HostBubbles
from orchestrator.hosts.ssh import open_transports
from orchestrator.model.host import Host
host = Host.model_validate_json(sys.argv[1])
bubbles = HostBubbles(open_transports(Path(sys.argv[2]), Path(sys.argv[3])), lease_seconds=4.0)
held = BubbleData(name="state", held="/srv/held", places=(("", "/srv/app"),))
for _ in range(1000):
    print("go", flush=True)
    bubbles.open(host, "killed", [held], ["app"], seconds_max=600)
    bubbles.prove(host, "killed", [])
    print("proved", flush=True)
    bubbles.close(host, "killed")
"""


def killed(host: Host, town: Town, folder: Path, *, after: str, seconds: float = 0.0) -> None:
    """Somebody opens bubbles and closes them; is killed so long after saying that word."""
    words = [sys.executable, "-c", OPENER, host.model_dump_json(), str(town.ssh_config), str(folder / "child")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment, text=True) as child:
        assert child.stdout is not None
        while child.stdout.readline().strip() != after:
            pass
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        child.wait()


@pytest.mark.parametrize("after_seconds", [0.05, 0.15, 0.3, 0.45, 0.7])
def test_killed_anywhere_nothing_of_production_changes_and_the_next_drill_works(
    bubbles: HostBubbles, host: Host, there: SshTransport, town: Town, tmp_path: Path, after_seconds: float
) -> None:
    before = bubbles.shown(host, ["app"])
    killed(host, town, tmp_path, after="go", seconds=after_seconds)
    # The command that was under way on the host ends with its connection; its bubble ends with its lease.
    opened(bubbles, host, "next")
    assert list(bubbles.listed(host)) == ["next"]
    assert not bubbles.close(host, "next").any
    assert sh(there, "cat /srv/app/state /srv/held/state; ls /srv/app /srv/held | wc -l") == "production\nheld\n5"
    assert bubbles.shown(host, ["app"]) == before


def test_a_bubble_whose_opener_was_killed_ends_and_one_whose_opener_lives_does_not(
    bubbles: HostBubbles, host: Host, there: SshTransport, town: Town, tmp_path: Path
) -> None:
    opened(bubbles, host)
    time.sleep(3 * LEASE_SECONDS)
    assert list(bubbles.listed(host)) == ["one"]
    assert not bubbles.close(host, "one").any
    killed(host, town, tmp_path, after="proved")
    assert list(bubbles.listed(host)) == ["killed"]
    deadline = time.monotonic() + 60
    while bubbles.listed(host) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sh(there, f"ls {ROOT}; grep -c {ROOT} /proc/self/mountinfo || true") == "0"


def test_fifty_in_a_row_leave_nothing(bubbles: HostBubbles, host: Host, there: SshTransport) -> None:
    # Processes, mounts, network namespaces, loop devices, bubbles, temporary files.
    count = (
        "ls /proc | grep -c '^[0-9]'; wc -l < /proc/self/mountinfo; readlink /proc/[0-9]*/ns/net | sort -u | wc -l;"
        " losetup -a | wc -l; ls /var/lib/skerry/bubbles | wc -l; ls /tmp | wc -l; ip link | wc -l"
    )
    opened(bubbles, host)
    bubbles.close(host, "one")
    before = sh(there, count)
    for number in range(50):
        opened(bubbles, host, f"b{number}")
        bubbles.start(host, f"b{number}", [SERVICE], [])
        assert not bubbles.close(host, f"b{number}").any
    deadline = time.monotonic() + 30  # connections of ours come and go meanwhile
    while (after := sh(there, count)) != before and time.monotonic() < deadline:
        time.sleep(0.5)
    assert after == before


def test_a_host_that_shares_its_network_is_refused(bubbles: HostBubbles, host: Host) -> None:
    with pytest.raises(DataError, match="shares its file system and its network with other hosts"):
        opened(bubbles, host.model_copy(update={"path_prefix": "/lab/dr-a"}))


def test_what_is_held_nowhere_and_a_unit_that_is_not_there_are_refused_and_leave_nothing(
    bubbles: HostBubbles, host: Host
) -> None:
    with pytest.raises(DataError, match="what is held is not there: /srv/none"):
        bubbles.open(host, "one", [HELD.model_copy(update={"held": "/srv/none"})], ["app"], seconds_max=20)
    with pytest.raises(DataError, match="no unit nothing"):
        bubbles.open(host, "one", [HELD], ["nothing"], seconds_max=20)
    assert list(bubbles.listed(host)) == []


def test_a_full_disk_is_full_within_alone(bubbles: HostBubbles, host: Host, there: SshTransport) -> None:
    small = HELD.model_copy(update={"bytes_max": 65536})
    bubbles.open(host, "one", [small], ["app"], seconds_max=60)
    assert bubbles.prove(host, "one", []).isolated
    inside = bubbles.transport(host, "one")
    done = inside.run(["sh", "-c", "head -c 200000 /dev/zero > /srv/app/more"], check=False)
    assert (done.exit_code, b"No space left" in done.stderr) == (1, True)
    assert sh(there, "ls /srv/app /srv/held | grep -c more || true") == "0"


class TestTransportIntoABubble(TransportLaws):
    @pytest.fixture
    def transport(self, bubbles: HostBubbles, host: Host) -> Transport:
        opened(bubbles, host)
        return bubbles.transport(host, "one")

    @pytest.fixture
    def folder(self, transport: Transport) -> str:
        return transport.run(["mktemp", "-d", "/tmp/transport-laws-XXXXXX"]).text
