"""Filing moves while its clients speak to a HAProxy on premises: a real one, on a host of its own."""

import csv
import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.lab.blueprint import LabHost, PlacedFile, Unit
from tests.fakes.aws_cloud import AwsCloud
from tests.scenarios.office import ROOT, Office, open_office

pytestmark = [
    pytest.mark.platform("hosts"),
    pytest.mark.platform("namespaces"),
    pytest.mark.platform("rsync"),
    pytest.mark.platform("postgresql"),
    pytest.mark.platform("haproxy"),
    pytest.mark.timeout(900),
]

PROXY, ADDRESS, PORT, FOLDER = "onprem-lb1", "10.10.1.21", 8080, "/var/lib/haproxy"
SIDES = {"source": "10.10.1.11", "cloud": "10.30.1.11"}
CONFIGURATION = f"""
global
    stats socket {FOLDER}/admin.sock mode 600 level admin
    server-state-file {FOLDER}/server-state
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    load-server-state-from-file global
frontend filing
    bind {ADDRESS}:{PORT}
    default_backend filing
backend filing
    server source {SIDES["source"]}:{PORT}
    server cloud {SIDES["cloud"]}:{PORT} disabled
"""
UNIT = f"""[Unit]
Description=The proxy that filing's clients speak to
[Service]
Type=simple
ExecStartPre=/bin/mkdir -p {FOLDER}
ExecStart=/usr/sbin/haproxy -db -f /etc/haproxy/haproxy.cfg
Restart=always
[Install]
WantedBy=multi-user.target
"""
FRONT = (
    f"front: {{kind: haproxy, name: filing.skerry.test, host: {PROXY}, backend: filing, port: {PORT}, "
    f"socket: {FOLDER}/admin.sock, state_file: {FOLDER}/server-state}}"
)


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    with open_office(filings=60, documents=10) as here:
        yield here


@pytest.fixture(scope="module")
def estate(office: Office) -> Path:
    """The lab's estate, with the proxy in it, and clients that find it by filing's name."""
    configuration = {"/etc/haproxy/haproxy.cfg": PlacedFile(CONFIGURATION.encode())}
    office.town.add_host(
        LabHost(PROXY, "onprem", ADDRESS, services=(Unit("haproxy", UNIT, configuration, enabled=True),))
    )
    folder = office.town.folder / "cloud"
    cloud = AwsCloud(folder, (folder / "endpoint").read_text().strip())
    cloud.put_record("UPSERT", ResourceRecords=[{"Value": ADDRESS}])
    made = office.home / "estate"
    shutil.copytree(ROOT / "inventories" / "lab", made)
    hosts = made / "hosts.yml"
    first = "    onprem-filing1: {ansible_host: 10.10.1.11}\n"
    hosts.write_text(hosts.read_text().replace(first, f"{first}    {PROXY}: {{ansible_host: {ADDRESS}}}\n"))
    systems = made / "group_vars" / "skerry" / "systems.yml"
    before, _, after = systems.read_text().partition("front: {kind: route53, name: filing.skerry.test")
    systems.write_text(before + FRONT + after.partition("}")[2])
    return made


def served(office: Office) -> dict[str, tuple[str, int]]:
    """Server → its state and the sessions that it has had, as the proxy itself tells them."""
    words = ["python3", "-c", ASK, f"{FOLDER}/admin.sock"]
    rows = csv.DictReader(io.StringIO(office.town.run_inside(PROXY, words).text.lstrip("# ")))
    return {row["svname"]: (row["status"], int(row["stot"])) for row in rows if row["pxname"] == "filing"}


ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as proxy:
    proxy.connect(sys.argv[1])
    proxy.sendall(b"show stat\\n")
    print(b"".join(iter(lambda: proxy.recv(65536), b"")).decode())
"""


def through_the_proxy(office: Office, server: str) -> None:
    """Clients are served by that server alone, and through the proxy."""
    until = time.monotonic() + 60
    counted = served(office)[server][1]
    while served(office)[server][1] <= counted + 5:
        assert time.monotonic() < until
        time.sleep(0.5)
    assert {name: state for name, (state, _) in served(office).items() if name in SIDES and name != server} == {
        name: "MAINT" for name in SIDES if name != server
    }


def test_a_move_takes_the_proxys_clients_along(office: Office, estate: Path) -> None:
    in_estate = ("--inventory", str(estate))
    through_the_proxy(office, "source")
    office.skerry(*in_estate, "survey")
    made = office.skerry(*in_estate, "plan", "make", "filing", "--as", "ben", "--wave", "proxied", "--set", "watch=2s")
    office.skerry(*in_estate, "approve", made["digest"], *office.key("ana"))
    status = office.skerry(*in_estate, "run", made["digest"], "--as", "ben")
    assert office.state(status) == "committed"
    seen = next(each for each in status["systems"][0]["steps"] if each["step"] == "check_front")["observed"]
    assert "dr-filing1" in str(seen)  # a host of the estate asked as clients do
    through_the_proxy(office, "cloud")
    office.await_filings(site="cloud")

    office.town.run_inside(PROXY, ["systemctl", "restart", "haproxy"])
    through_the_proxy(office, "cloud")  # what the switch said outlives the proxy
    office.nothing_is_lost()
