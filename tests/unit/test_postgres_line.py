"""The line of a base backup under a limit: what passes, how quickly, and what happens when the limit changes."""

import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.contracts.bandwidth import Allowance
from orchestrator.movers.limits import may_be_limited
from orchestrator.movers.postgres.limited_line import PROGRAM

CONTENT = bytes(range(256)) * 3072  # 768 KiB
# Sends a word, and prints the digest of what comes back until the end.
CLIENT = """
import hashlib, socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as line:
    line.sendall(b"begin")
    line.shutdown(socket.SHUT_WR)
    seen = hashlib.sha256()
    while data := line.recv(65536):
        seen.update(data)
print(seen.hexdigest())
sys.exit(7)
"""


@contextmanager
def upstream():
    """A server that answers one word with CONTENT."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                if connection.recv(100) == b"begin" and connection.recv(100) == b"":
                    connection.sendall(CONTENT)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()
        thread.join()


def run(limit_file: Path, address: tuple[str, int]) -> tuple[subprocess.CompletedProcess[str], float]:
    words = [sys.executable, "-c", CLIENT, "{port}"]
    request = {"words": words, "upstream": list(address), "limit_file": str(limit_file)}
    begun = time.monotonic()
    line = [sys.executable, "-I", "-S", str(PROGRAM), json.dumps(request)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    return done, time.monotonic() - begun


@pytest.mark.parametrize(("limit", "seconds_min"), [("0", 0.0), (str(768 * 1024), 0.9)])
def test_all_of_it_passes_no_quicker_than_it_may_and_the_exit_code_too(tmp_path, limit, seconds_min):
    file = tmp_path / "limit"
    file.write_text(limit)
    with upstream() as address:
        done, seconds = run(file, address)
    assert done.stdout.strip() == hashlib.sha256(CONTENT).hexdigest()
    assert done.returncode == 7
    assert seconds >= seconds_min


def test_a_limit_that_is_lifted_meanwhile_holds_no_longer(tmp_path):
    file = tmp_path / "limit"
    file.write_text("8192")  # at which it would take a minute and a half
    lift = threading.Timer(0.5, file.write_text, ["0"])
    lift.start()
    with upstream() as address:
        done, seconds = run(file, address)
    assert done.returncode == 7
    assert 0.5 <= seconds < 45


def test_an_upstream_that_is_not_there_is_said_in_words(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    done, _ = run(tmp_path / "limit", address)
    assert "error: could not connect to server" in done.stderr


def test_only_a_line_that_may_be_limited_takes_the_longer_way():
    assert not may_be_limited(Allowance)
    assert may_be_limited(lambda: Allowance(bytes_per_second=1))
    assert may_be_limited(lambda: Allowance(seconds_left=60.0))
