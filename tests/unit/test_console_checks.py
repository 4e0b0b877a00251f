"""What a test machine runs to ask itself, by a real shell against a real server; and what its console tells."""

import http.server
import json
import subprocess
import threading

import pytest

from orchestrator.model.system import HttpCheck
from orchestrator.steps.console_checks import asking_script, told_checks, wrong_checks
from orchestrator.targets.aws.user_data import BYTES_MAX, first_boot_script
from tests.fakes.drivers import CLOUD, SYSTEM

TOLD = {"site": "cloud", "said": "it's \\n \"quoted\""}


class Register(http.server.BaseHTTPRequestHandler):
    """Serves once it was asked for the first time."""

    asked = 0

    def do_GET(self):
        Register.asked += 1
        self.send_response(200 if Register.asked > 1 else 503)
        self.end_headers()
        self.wfile.write(json.dumps(TOLD).encode())

    def log_message(self, *words):
        """Nobody reads it."""


@pytest.fixture
def port():
    Register.asked = 0
    with http.server.HTTPServer(("127.0.0.1", 0), Register) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server.server_port
        server.shutdown()
        serving.join()


@pytest.fixture
def run(tmp_path):
    """The script as user data runs it, on a machine with the address 127.0.0.1; what it prints."""

    def run(system, seconds_max):
        for name, text in (("hostname", "echo 127.0.0.1 10.0.0.1"), ("sleep", "exit 0")):
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        script = first_boot_script("", last=asking_script(system, CLOUD, seconds_max=seconds_max))
        path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        done = subprocess.run(["sh", "-c", script], env=path, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    return run


def system_of(port):
    check = HttpCheck(name="register", port=port, expected={**TOLD, "site": "{site}"}, level="business")
    return SYSTEM.model_copy(update={"checks": (check,)})


def test_it_asks_until_all_pass_and_tells_each_answer_that_is_another(run, port):
    printed = run(system_of(port), 60)
    assert printed.count("skerry-checks<") == 2
    assert "status 503" in printed.splitlines()[0]
    [seen] = told_checks("[   12.3] cloud-init[99]: " + printed.replace("\n", "\r\n") + "filing login: ")
    assert (seen.name, seen.level, seen.passed) == ("register", "business", True)
    assert list(wrong_checks(printed)) == []


def test_what_never_answers_is_told_and_ends(run):
    printed = run(system_of(1), 1)
    assert printed.count("skerry-checks<") == 1
    [why] = wrong_checks(printed)
    assert why.startswith("register: no answer")


@pytest.mark.parametrize("console", ["", "login: ", "skerry-checks<{]>skerry-checks", 'skerry-checks<{"report":'])
def test_a_console_that_tells_nothing_whole_tells_of_no_check(console):
    assert told_checks(console) == []
    assert list(wrong_checks(console)) == ["its console tells of no check (cloud-init of its image runs them)"]


def test_a_system_without_checks_asks_nothing():
    assert asking_script(SYSTEM.model_copy(update={"checks": ()}), CLOUD, seconds_max=60) == ""


def test_it_leaves_room_in_what_a_machine_may_be_told():
    assert len(first_boot_script("", last=asking_script(SYSTEM, CLOUD, seconds_max=60))) < BYTES_MAX / 2
