"""The programs that start, stop and check services on hosts, run here: real ports, a systemctl of the test's."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.hosts.prepared import SHIPPED, WITHOUT_PLAYBOOK, request_of, shipped_programs
from orchestrator.model.action import RunPlaybook
from orchestrator.model.host import Host
from orchestrator.model.site import Side

FOLDER = Path(__file__).parents[2] / "playbooks"
PROGRAMS = shipped_programs(FOLDER)
SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$0.log"
[ -e "$0.refuses" ] && { echo "Job for $2 failed."; exit 5; }
exit 0
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a deed's program as a host's Python does; a systemctl of the test's stands in for the host's."""
    program = tmp_path / "systemctl"
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)

    def run(deed: str, **asked: Any) -> "subprocess.CompletedProcess[str]":
        request = {"do": deed, "prefix": "", "system": "filing", "services": [], "databases": [], "checks": []} | asked
        return subprocess.run(
            [sys.executable, "-I", "-S", "-", json.dumps(request)],
            input=PROGRAMS[deed].read_text(),
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            check=False,
        )

    return run


def told(tmp_path: Path) -> list[str]:
    log = tmp_path / "systemctl.log"
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def service(name: str, port: int) -> dict[str, Any]:
    return {"name": name, "port": port, "address": "127.0.0.1"}


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_start_enables_and_starts_databases_first_and_waits_for_ports(run, tmp_path, listener):
    port = listener.getsockname()[1]
    done = run("start", services=[service("app", port)], databases=[{"name": "db"}])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["report"]["services"]["app"]["active"] == "active"
    assert sorted(told(tmp_path)) == ["enable app.service", "start db.service app.service"]


def test_drain_stops_the_last_started_first_and_leaves_databases(run, tmp_path):
    services = [service("first", closed_port()), service("second", closed_port())]
    done = run("drain", services=services, databases=[{"name": "db"}])
    assert done.returncode == 0, done.stderr
    assert told(tmp_path) == ["stop second.service", "stop first.service"]
    assert json.loads(done.stdout) == {
        "changed": False,
        "report": {"services": {one["name"]: one | {"active": "inactive", "port_open": False} for one in services}},
    }


def test_stop_ends_databases_too(run, tmp_path):
    done = run("stop", services=[service("app", closed_port())], databases=[{"name": "db"}])
    assert json.loads(done.stdout)["report"]["databases"] == ["db"]
    assert told(tmp_path) == ["stop app.service", "stop db.service"]


@pytest.mark.parametrize("deed", ["start", "drain"])
def test_what_systemctl_refuses_is_refused_in_its_words(run, tmp_path, deed):
    (tmp_path / "systemctl.refuses").write_text("")
    done = run(deed, services=[service("app", closed_port())])
    assert done.returncode == 1
    assert "app.service ended with 5: Job for app.service failed." in done.stderr


def serve(listener: socket.socket, answers: list[bytes]) -> threading.Thread:
    def answer() -> None:
        for content in answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(content)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return thread


def check(listener: socket.socket, **values: Any) -> dict[str, Any]:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/healthz"
    return {"name": "up", "url": url, "expected_status": 200, "expected": {}, "level": "technical"} | values


def test_a_check_compares_status_and_values_and_tells_all(run, listener):
    body = json.dumps({"read_only": False, "index": {"state": "ready"}}).encode()
    serve(listener, [b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n" + body])
    done = run("check", checks=[check(listener, expected={"read_only": False, "index.state": "ready"})])
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)["report"]["checks"]["up"]
    assert seen["observed"] == {"read_only": False, "index.state": "ready"}
    assert (seen["status"], seen["passed"]) == (200, True)


def test_a_check_writes_down_what_it_is_to_note_and_misses_what_is_not_there(run, listener):
    serve(listener, [b'HTTP/1.0 200 OK\r\n\r\n{"last_id": 7}'])
    done = run("check", checks=[check(listener, notes=["last_id", "count"])])
    assert done.returncode == 1
    assert "filing: up: count is not there" in done.stderr
    assert json.loads(done.stdout)["report"]["checks"]["up"]["observed"] == {"last_id": 7, "count": None}


@pytest.mark.parametrize(
    ("answer", "expected", "why"),
    [
        (b'HTTP/1.0 503 No\r\n\r\n{"a": 1}', {"a": 1}, "status 503, expected status 200"),
        (b'HTTP/1.0 200 OK\r\n\r\n{"a": 2}', {"a": 1}, "a is 2, expected 1"),
        (b'HTTP/1.0 200 OK\r\n\r\n{"a": 1}', {"a": True}, "a is 1, expected true"),
        (b"HTTP/1.0 200 OK\r\n\r\nready", {"a": 1}, "a is null, expected 1"),
        (b"HTTP/1.0 200 OK\r\n\r\n[1]", {"a.b": 1}, "a.b is null, expected 1"),
        (b"SSH-2.0-OpenSSH\r\n", {}, "no answer (what answers speaks no HTTP)"),
        (b"", {}, "no answer (what answers speaks no HTTP)"),
    ],
)
def test_a_check_that_does_not_pass_says_why(run, listener, answer, expected, why):
    serve(listener, [answer])
    done = run("check", checks=[check(listener, expected=expected)])
    assert done.returncode == 1
    assert f"filing: up: {why}" in done.stderr
    assert json.loads(done.stdout)["report"]["checks"]["up"]["passed"] is False


def test_a_check_of_a_closed_port_says_so(run):
    url = f"http://127.0.0.1:{closed_port()}/"
    wanted = {"name": "shut", "url": url, "expected_status": 200, "expected": {}, "level": "technical"}
    done = run("check", checks=[wanted])
    assert "shut: no answer (" in done.stderr
    assert "refused" in done.stderr


def test_a_program_is_told_only_what_belongs_to_its_host():
    host = Host(name="one", site="source", address="10.0.0.1", path_prefix="/below")
    request = request_of(
        "fence",
        host,
        {
            "skerry_system": "filing",
            "skerry_side": "source",
            "skerry_services": [{"name": "a", "address": "10.0.0.1"}, {"name": "b", "address": "10.0.0.2"}],
            "skerry_databases": [{"name": "d", "host": "one"}, {"name": "e", "host": "two"}],
            "skerry_fence": {"number": 3, "side": "source", "at": "now"},
            "private": "words of the operator's own playbooks",
        },
    )
    assert [each["name"] for each in request["services"]] == ["a"]
    assert [each["name"] for each in request["databases"]] == ["d"]
    assert (request["do"], request["number"], request["prefix"]) == ("fence", 3, "/below")
    assert "private" not in json.dumps(request)


def test_every_prepared_deed_has_its_program_and_its_playbook():
    for deed, name in SHIPPED.items():
        assert (FOLDER / "files" / name).is_file()
        assert (FOLDER / f"{deed}.yml").is_file() or deed in WITHOUT_PLAYBOOK


def test_what_has_no_program_cannot_be_prepared():
    with pytest.raises(ValidationError, match="no program for quiesce"):
        RunPlaybook(playbook="quiesce", side=Side.SOURCE, prepared=True)
