"""Faults of the lab are real, end when they are healed, and are refused where a lab cannot have them."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.foundation.errors import LabError
from orchestrator.lab.blueprint import LabHost, PlacedFile, Unit
from orchestrator.lab.faults import Fault, parse_fault
from orchestrator.lab.town import Town, open_town
from tests.platform.lab_rows import ssh

pytestmark = [pytest.mark.platform("hosts", "ssh")]

# Takes bytes on port 5001; as a client sends them and says how long that took.
LINE = b"""import socket, sys, time
if sys.argv[1] == "take":
    listener = socket.create_server(("0.0.0.0", 5001))
    while True:
        connection = listener.accept()[0]
        while connection.recv(1 << 20):
            pass
        connection.close()
started = time.monotonic()
connection = socket.create_connection((sys.argv[1], 5001), 1.5)
opened = time.monotonic()
connection.sendall(bytes(int(sys.argv[2])))
connection.shutdown(socket.SHUT_WR)
connection.recv(1)
print(opened - started, time.monotonic() - opened)
"""
TAKER = Unit(
    "taker",
    "[Service]\nExecStart=/usr/bin/python3 /opt/line.py take\n[Install]\nWantedBy=multi-user.target\n",
    {"/opt/line.py": PlacedFile(LINE)},
    enabled=True,
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = open_town(tmp_path_factory.mktemp("faults") / "lab", kind="namespaces")
    sites = (("onprem", 10), ("dr", 20), ("cloud", 30))
    town.up([LabHost(f"{site}-a", site, f"10.{octet}.1.11", services=(TAKER,)) for site, octet in sites])
    for site, _ in sites:
        wait_for_port(town, f"{site}-a", 5001)
    yield town
    town.down()


@pytest.fixture(autouse=True)
def healed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "lab" in request.fixturenames:
        request.getfixturevalue("lab").heal()


def wait_for_port(town: Town, host: str, port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            town.connect(host, port).close()
        except LabError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return


def send(town: Town, source: str, target: str, size_bytes: int = 1000) -> tuple[float, float] | None:
    """Seconds to connect and to send; None where there is no connection."""
    address = town.hosts()[target].address
    done = town.run_inside(source, ["python3", "/opt/line.py", address, str(size_bytes)], check=False)
    return None if done.exit_code else tuple(float(word) for word in done.text.split())  # type: ignore[return-value]


namespaces = pytest.mark.platform("namespaces")


@namespaces
def test_a_partition_cuts_two_sites_and_nobody_else(lab: Town) -> None:
    lab.put_fault(parse_fault(["partition", "dr", "onprem"]))
    assert send(lab, "onprem-a", "dr-a") is None
    assert send(lab, "dr-a", "onprem-a") is None
    assert send(lab, "onprem-a", "cloud-a")
    assert send(lab, "dr-a", "cloud-a")
    assert ssh(lab, "onprem-a", "true").returncode == 0
    assert ssh(lab, "dr-a", "true").returncode == 0
    assert lab.heal("partition dr onprem") == ["partition dr onprem"]
    assert send(lab, "onprem-a", "dr-a")
    assert lab.faults() == []


@namespaces
@pytest.mark.platform("tc")
def test_a_rate_holds_between_two_sites_in_both_directions(lab: Town) -> None:
    lab.put_fault(parse_fault(["rate", "onprem", "dr", "80"]))
    for source, target in (("onprem-a", "dr-a"), ("dr-a", "onprem-a")):
        times = send(lab, source, target, 8_000_000)
        assert times is not None
        assert 0.6 < times[1] < 3.0, "8 MB at 80 Mbit/s take 0.8 s"
    free = send(lab, "onprem-a", "cloud-a", 8_000_000)
    assert free is not None
    assert free[1] < 0.5
    lab.put_fault(parse_fault(["rate", "onprem", "dr", "800"]))
    assert [fault.amount for fault in lab.faults()] == [800.0]


@namespaces
@pytest.mark.platform("tc")
def test_a_site_rate_holds_for_all_that_leaves_and_enters(lab: Town) -> None:
    lab.put_fault(Fault("site-rate", ("dr",), 80))
    for source, target in (("onprem-a", "dr-a"), ("dr-a", "cloud-a")):
        times = send(lab, source, target, 8_000_000)
        assert times is not None
        assert 0.6 < times[1] < 3.0


@namespaces
@pytest.mark.platform("nft")
def test_loss_loses_packets_between_two_sites_only(lab: Town) -> None:
    ask = (
        "import socket, sys, time\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.5); s.connect((sys.argv[1], 5002))\n"
        "[(s.send(b'x'), time.sleep(0.001)) for _ in range(400)]\n"
    )
    count = (
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.bind(('0.0.0.0', 5002)); s.settimeout(8)\n"
        "print('ready', flush=True)\nn = 0\n"
        "try:\n    while s.recv(10): n += 1; s.settimeout(0.5)\nexcept TimeoutError: print(n)\n"
    )

    def arrived(source: str, target: str) -> int:
        lab.place(target, {"/opt/count.py": PlacedFile(count.encode())})
        lab.run_inside(target, ["sh", "-c", ": >/tmp/count; python3 /opt/count.py >/tmp/count 2>&1 &"])
        while "ready" not in lab.run_inside(target, ["cat", "/tmp/count"]).text:
            time.sleep(0.02)
        lab.run_inside(source, ["python3", "-c", ask, lab.hosts()[target].address])
        while len(lines := lab.run_inside(target, ["cat", "/tmp/count"]).text.split()) < 2:
            time.sleep(0.05)
        return int(lines[1])

    lab.put_fault(parse_fault(["loss", "onprem", "dr", "300"]))
    assert 200 < arrived("onprem-a", "dr-a") < 350, "about 280 of 400 arrive where 30 % are lost"
    assert arrived("cloud-a", "dr-a") > 390
    lab.heal()
    assert arrived("onprem-a", "dr-a") > 390


@namespaces
def test_latency_is_felt_by_hosts_and_not_by_the_controller(lab: Town) -> None:
    before = send(lab, "onprem-a", "dr-a")
    lab.put_fault(parse_fault(["latency", "dr", "400"]))
    lab.put_fault(parse_fault(["latency", "dr", "500"]))
    late = send(lab, "onprem-a", "dr-a")
    assert before is not None
    assert late is not None
    assert 1.0 <= late[0] < 6
    assert before[0] < 0.9
    started = time.monotonic()
    lab.connect("dr-a", 22).close()
    assert time.monotonic() - started < 0.9
    lab.heal()
    after = send(lab, "onprem-a", "dr-a")
    assert after is not None
    assert after[0] < 0.9


@namespaces
def test_a_pulled_cable_cuts_one_host(lab: Town) -> None:
    lab.put_fault(parse_fault(["cut-cable", "dr-a"]))
    assert send(lab, "onprem-a", "dr-a") is None
    assert send(lab, "onprem-a", "cloud-a")
    lab.power_off("dr-a")
    lab.heal()
    lab.power_on("dr-a")
    wait_for_port(lab, "dr-a", 5001)
    assert send(lab, "onprem-a", "dr-a")


@namespaces
def test_a_full_disk_shows_its_files_and_takes_no_more(lab: Town) -> None:
    lab.place("dr-a", {"/srv/there": PlacedFile(b"before")})
    lab.put_fault(parse_fault(["disk-full", "dr-a", "/srv", "1"]))
    assert lab.run_inside("dr-a", ["cat", "/srv/there"]).text == "before"
    full = ssh(lab, "dr-a", "dd if=/dev/zero of=/srv/much bs=64k count=64")
    assert full.returncode != 0
    assert "No space left on device" in full.stderr
    lab.run_inside("dr-a", ["sh", "-c", "rm /srv/much; echo small >/srv/small; rm /srv/there"])
    lab.heal()
    assert lab.run_inside("dr-a", ["sh", "-c", "ls /srv; cat /srv/small"]).text.split() == ["small", "small"]
    assert ssh(lab, "dr-a", "dd if=/dev/zero of=/srv/much bs=64k count=64; rm /srv/much").returncode == 0


@namespaces
def test_a_read_only_disk_refuses_and_a_reboot_ends_it(lab: Town) -> None:
    lab.put_fault(parse_fault(["read-only", "dr-a", "/srv"]))
    refused = ssh(lab, "dr-a", "touch /srv/new")
    assert "Read-only file system" in refused.stderr
    lab.power_off("dr-a")
    assert lab.faults() == []
    lab.power_on("dr-a")
    assert ssh(lab, "dr-a", "touch /srv/new; rm /srv/new").returncode == 0


ANY_KIND = [pytest.param("namespaces", marks=namespaces), pytest.param("loopback")]


@pytest.mark.parametrize("kind", ANY_KIND)
def test_what_any_lab_can_have(kind: str, tmp_path: Path) -> None:
    town = open_town(tmp_path / "lab", kind=kind)  # type: ignore[arg-type]
    unit = Unit("sleeper", "[Service]\nExecStart=/bin/sleep 600\n[Install]\nWantedBy=multi-user.target\n", {}, True)
    town.up([LabHost("dr-y", "dr", "10.20.9.8", services=(unit,))])
    try:
        port = town.hosts()["dr-y"].port
        town.put_fault(parse_fault(["no-ssh", "dr-y"]))
        with pytest.raises(LabError, match="Connection refused"):
            town.connect("dr-y", port)
        town.heal()
        assert ssh(town, "dr-y", "true").returncode == 0

        town.put_fault(parse_fault(["freeze", "dr-y"]))
        with town.connect("dr-y", port) as connection:
            connection.settimeout(0.5)
            with pytest.raises(TimeoutError):
                connection.recv(10)
        town.heal()
        assert ssh(town, "dr-y", "true").returncode == 0

        pid = town.run_inside("dr-y", ["systemctl", "show", "sleeper", "-p", "MainPID", "--value"]).text
        town.put_fault(parse_fault(["stop-unit", "dr-y", "sleeper"]))
        assert state_of(town, pid) == "T"
        town.heal()
        assert state_of(town, pid) == "S"

        town.put_fault(parse_fault(["power-off", "dr-y"]))
        assert town.status()["hosts"][0]["power"] == "off"
        with pytest.raises(LabError, match="off"):
            town.put_fault(parse_fault(["freeze", "dr-y"]))
        assert town.heal() == ["power-off dr-y"]
        assert ssh(town, "dr-y", "true").returncode == 0
        with pytest.raises(LabError, match=r"no host 'dr-q'"):
            town.put_fault(parse_fault(["freeze", "dr-q"]))
        with pytest.raises(LabError, match="has no fault 'freeze dr-y'"):
            town.heal("freeze dr-y")
    finally:
        town.down()


def state_of(town: Town, pid: str) -> str:
    return town.run_inside("dr-y", ["sh", "-c", f"cut -d' ' -f3 /proc/{pid}/stat"]).text


def test_a_loopback_lab_refuses_faults_of_a_network_it_does_not_have(tmp_path: Path) -> None:
    town = open_town(tmp_path / "lab", kind="loopback")
    with pytest.raises(LabError, match="no network and no file systems of its own") as caught:
        town.put_fault(parse_fault(["partition", "onprem", "dr"]))
    assert "power-off" in caught.value.hint


@namespaces
def test_a_connection_held_outside_ends_with_the_lab(tmp_path: Path) -> None:
    town = open_town(tmp_path / "lab", kind="namespaces")
    town.up([LabHost("dr-y", "dr", "10.20.9.8")])
    with town.connect("dr-y", 22) as connection:
        assert connection.recv(4) == b"SSH-"
        town.put_fault(parse_fault(["freeze", "dr-y"]))
        town.down()
        connection.settimeout(2)
        while True:
            try:
                if not connection.recv(1000):
                    break
            except ConnectionResetError:
                break
            except TimeoutError as error:
                raise AssertionError("the connection outlives the lab") from error
