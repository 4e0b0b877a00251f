"""The survey without hosts: answers become facts, trouble becomes a reason, and the probe itself runs here."""

import json
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import CommandFailed, HostKeyMismatch, HostUnreachable
from orchestrator.hosts.local import LocalTransport
from orchestrator.inventory.load import load_inventory
from orchestrator.model.dataset import FileTree, PostgresCluster
from orchestrator.model.facts import HostFacts
from orchestrator.model.host import Host
from orchestrator.survey.access import HostAccessLog
from orchestrator.survey.probes import facts_from, program, request_for
from orchestrator.survey.survey import survey
from tests.fakes.transport import FakeTransport, FakeTransports

ROOT = Path(__file__).parents[2]
HOST = Host(name="here", site="onprem", address="127.0.0.1", become=False)
GOLDEN = sorted((ROOT / "tests" / "golden" / "survey").glob("*.yaml"))


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_answers_become_facts(file: Path) -> None:
    case = yaml.safe_load(file.read_text())
    facts = facts_from(HOST, json.dumps(case["answer"]).encode(), asked_at=1000.0, answered_at=1001.0)
    found = facts.model_dump(mode="json")
    assert {key: found[key] for key in case["facts"]} == case["facts"]
    assert found["datasets"] == case["answer"]["datasets"]
    assert found["hostname"] == case["answer"]["hostname"]
    assert facts.reachable


@pytest.mark.parametrize("answer", [b"", b"Welcome!\n", b"[]", b'{"hostname": "x"}'])
def test_an_answer_that_is_none_is_named(answer: bytes) -> None:
    with pytest.raises(CommandFailed, match="here: the probe's answer cannot be read"):
        facts_from(HOST, answer, asked_at=0, answered_at=1)


def probe(datasets: dict[str, Any]) -> HostFacts:
    transport = LocalTransport(HOST)
    asked_at = datetime.now(UTC).timestamp()
    answer = transport.run([sys.executable, "-", request_for(HOST, datasets)], stdin=program("probe"))
    return facts_from(HOST, answer.stdout, asked_at=asked_at, answered_at=datetime.now(UTC).timestamp())


def test_the_probe_counts_files_once_and_names_what_is_missing(tmp_path: Path) -> None:
    tree = tmp_path / "tree" / "deep"
    tree.mkdir(parents=True)
    (tree / "a").write_bytes(b"x" * 1000)
    (tree / "b").hardlink_to(tree / "a")
    (tree / "c").symlink_to("a")
    (tmp_path / "tree" / "d\udcff").write_bytes(b"y" * 24)
    facts = probe(
        {
            "documents": FileTree(name="documents", path=str(tmp_path / "tree")),
            "absent": FileTree(name="absent", path=str(tmp_path / "no" / "such")),
            "register": PostgresCluster(
                name="register",
                data_directory=str(tmp_path / "pg"),
                service="db",
                databases=("x",),
                binaries="/no/such/binaries",
            ),
        }
    )
    documents = facts.datasets["documents"]
    assert (documents.exists, documents.bytes_used, documents.files) == (True, 1024, 2)
    assert documents.file_system
    assert documents.bytes_free > 0
    assert not facts.datasets["absent"].exists
    assert facts.datasets["absent"].bytes_free > 0
    assert facts.datasets["register"].version == ""
    assert facts.tools["postgres"] == ""
    assert facts.tools["python3"].startswith("Python 3")
    assert facts.clock_offset_seconds == 0.0
    assert facts.hostname == socket.gethostname()


def test_the_probe_sees_who_listens_and_who_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            facts = probe({})
            assert port in facts.listening
            assert port in facts.peers["127.0.0.1"]
        assert port not in probe({}).peers.get("127.0.0.1", ())


def test_a_cluster_is_known_by_its_version_file(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("15\n")
    (tmp_path / "standby.signal").write_text("")
    cluster = PostgresCluster(name="r", data_directory=str(tmp_path), service="db", databases=("x",))
    found = probe({"r": cluster}).datasets["r"]
    assert found.exists
    assert found.detail == {"cluster_version": "15", "configured_as": "standby"}


def answering(host: Host, answer: dict[str, Any]) -> FakeTransport:
    told = {**answer, "time": datetime.now(UTC).timestamp()}
    return FakeTransport(host, programs={"python3": lambda words, stdin: (0, json.dumps(told).encode(), b"")})


def test_hosts_in_trouble_are_facts_with_reasons(tmp_path: Path) -> None:
    inventory = load_inventory(ROOT / "inventories" / "lab", home=tmp_path)
    good = yaml.safe_load(GOLDEN[0].read_text())["answer"]
    hosts = list(inventory.hosts.values())
    transports = FakeTransports()
    for host in hosts:
        transports.known[host.name] = answering(host, good)
    down, imposter, bare, broken = (transports.known[host.name] for host in hosts[:4])
    not_made = transports.known["cloud-archive1"]
    not_made.trouble = HostUnreachable("it cannot be reached: No route to host | 255")
    down.trouble = HostUnreachable("it cannot be reached: Connection refused")
    imposter.trouble = HostKeyMismatch("expected host key SHA256:aaaa")
    bare.programs = {}
    broken.programs = {"python3": lambda words, stdin: (1, b"", b"Traceback\nPermissionError: no")}
    seen: list[HostFacts] = []
    facts = survey(inventory, transports, SystemClock(), seen.append)
    assert {found.host for found in seen} == set(inventory.hosts) == set(facts.hosts)
    assert "Connection refused" in facts.hosts[down.at.name].why_not
    assert "SHA256:aaaa" in facts.hosts[imposter.at.name].why_not
    assert "no python3" in facts.hosts[bare.at.name].why_not
    assert "PermissionError" in facts.hosts[broken.at.name].why_not
    told = facts.hosts["cloud-archive1"].why_not
    assert told == "nothing answers at 10.30.1.12: the machine is down, or a plan has yet to make it"
    assert [found.reachable for found in facts.hosts.values()].count(True) == len(hosts) - 5


def test_equal_hosts_give_an_equal_digest(tmp_path: Path) -> None:
    inventory = load_inventory(ROOT / "inventories" / "lab", home=tmp_path)
    good = yaml.safe_load(GOLDEN[0].read_text())["answer"]
    transports = FakeTransports()
    for host in inventory.hosts.values():
        transports.known[host.name] = answering(host, good)
    first = survey(inventory, transports, SystemClock())
    second = survey(inventory, transports, SystemClock())
    assert first.digest == second.digest
    name = next(iter(inventory.hosts))
    transports.known[name] = answering(inventory.hosts[name], {**good, "kernel": "6.99"})
    assert survey(inventory, transports, SystemClock()).digest != first.digest


AUTH_LOG = """\
Nov 21 22:00:01 onprem sshd[1]: Accepted publickey for root from 10.20.1.11 port 40000 ssh2: ED25519-CERT SHA256:x
Nov 21 22:00:02 onprem sshd[1]: Failed password for root from 10.66.6.6 port 40000 ssh2
2026-11-21T22:00:03Z Accepted publickey for deploy from 10.20.1.11 port 40001 ssh2: ED25519 SHA256:x
2026-11-21T22:00:04Z Accepted publickey for root from fe80::1 port 2 ssh2: ED25519 SHA256:x
"""


def test_visitors_are_counted_from_the_hosts_own_records(tmp_path: Path) -> None:
    (tmp_path / "var" / "log").mkdir(parents=True)
    (tmp_path / "var" / "log" / "auth.log").write_text(AUTH_LOG)
    host = HOST.model_copy(update={"path_prefix": str(tmp_path)})
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            log = HostAccessLog(LocalTransport, SystemClock())
            reading = log.read(host, (port,))
    assert reading.ssh_sessions == {"10.20.1.11": 2, "fe80::1": 1}
    assert reading.database_peers == {"127.0.0.1": 1}


def test_a_host_without_records_proves_nothing(tmp_path: Path) -> None:
    host = HOST.model_copy(update={"path_prefix": str(tmp_path)})
    log = HostAccessLog(LocalTransport, SystemClock())
    with pytest.raises(CommandFailed, match="keeps no record"):
        log.read(host, (5432,))
