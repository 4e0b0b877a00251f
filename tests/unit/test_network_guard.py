"""Whatever a test or a library under it does, no connection leaves this machine unseen."""

import socket
import subprocess
import sys

import boto3
import pytest

from tests.network_guard import LeavesThisMachine


def test_the_world_is_out_of_reach():
    with pytest.raises(LeavesThisMachine, match=r"198\.51\.100\.7:443"), socket.socket() as way:
        way.connect(("198.51.100.7", 443))
    with pytest.raises(LeavesThisMachine, match="example"):
        socket.getaddrinfo("example.com", 443)


def test_an_sdk_that_would_speak_to_aws_is_stopped_by_name():
    client = boto3.client("sts", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    with pytest.raises(LeavesThisMachine, match=r"sts\.eu-central-1\.amazonaws\.com"):
        client.get_caller_identity()


def test_this_machine_is_within_reach():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as way:
        assert way.getpeername() == server.getsockname()


def test_programs_that_a_test_starts_are_stopped_too():
    script = "import socket; socket.socket().connect(('198.51.100.7', 443))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "LeavesThisMachine: a test connects to 198.51.100.7:443" in done.stderr
