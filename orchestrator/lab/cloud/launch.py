"""Starts the cloud: laid out in a folder, within a lab or alone, and says when it answers.

The folder holds `endpoint` (URL), `endpoint_at_hosts` (the same as hosts of a lab reach it), `credentials` (for the
SDK's chain), `keys.json` (access keys that are known), `images/`, `journal/`, `zones.json` (what the name server
answers from) and `log`.
"""

import contextlib
import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.errors import LabError
from orchestrator.lab.town import Town

START_SECONDS_MAX = 120.0
API_PORT = 4566
DNS_PORT = 53
SERVER = "orchestrator.lab.cloud.server"
NAME_SERVER = "orchestrator.lab.cloud.name_server"


def lay_out(folder: Path) -> None:
    """Folders and credentials; what is there stays."""
    (folder / "images").mkdir(parents=True, exist_ok=True, mode=0o700)
    credentials = folder / "credentials"
    if not credentials.exists():
        access_key = "AKIA" + secrets.token_hex(8).upper()
        text = f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {secrets.token_urlsafe(30)}\n"
        replace_file(credentials, text.encode(), mode=0o600)
        replace_file(folder / "keys.json", json.dumps({access_key: {"name": "lab-operator"}}).encode(), mode=0o600)


def start_in_town(town: Town, *, region: str) -> str:
    """Start API and name server within the lab, unless they run; returns the endpoint's URL outside.

    After a kill of the cloud alone, its state comes back from the journal and the endpoint keeps its port.
    """
    folder = town.folder / "cloud"
    lay_out(folder)
    zones = folder / "zones.json"
    if not _runs(town, NAME_SERVER):
        words = [sys.executable, "-m", NAME_SERVER, town.controller_address, str(dns_port(town)), str(zones)]
        town.spawn(words, env=_environment(), log=folder / "name_server.log")
    replace_file(folder / "endpoint_at_hosts", f"http://{town.controller_address}:{API_PORT}\n".encode())
    known = folder / "endpoint"
    # One that runs may not answer yet: whoever spawned it may have been killed before it did.
    if not (known.exists() and _runs(town, SERVER)):
        outside = _listen_as_before(town, known)
        inside = town.listen_inside(API_PORT)
        # Before it is spawned, so that whoever finds it running knows where.
        replace_file(known, f"http://127.0.0.1:{outside.getsockname()[1]}\n".encode())
        words = [sys.executable, "-m", SERVER, str(folder), "--town", str(town.folder), "--region", region]
        with contextlib.closing(outside), contextlib.closing(inside):
            pid = town.spawn(words, env=_environment(), log=folder / "log", sockets=[outside, inside])
        replace_file(folder / "server.pid", str(pid).encode())
    url = known.read_text().strip()
    await_answer(url, folder / "log", lambda: _runs(town, SERVER))
    return url


def dns_port(town: Town) -> int:
    """53 where the lab has a network of its own; a machine's own loopback leaves 53 to its resolver."""
    return DNS_PORT if town.kind == "namespaces" else 5353


@contextlib.contextmanager
def cloud_alone(folder: Path, *, region: str = "us-east-1") -> Iterator[str]:
    """A cloud without a town, for the length of the block: instances answer at once. Gives its URL."""
    lay_out(folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", SERVER, str(folder), "--region", region],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                env={
                    **_environment(),
                    "SKERRY_LAB_SOCKETS": str(listener.fileno()),
                    "SKERRY_LAB_PARENT": str(os.getpid()),
                },
            )
    try:
        replace_file(folder / "endpoint", url.encode() + b"\n")
        await_answer(url, folder / "log", lambda: process.poll() is None)
        yield url
    finally:
        process.kill()
        process.wait()


def answers(url: str, *, seconds_max: float = 2.0) -> bool:
    """Whether a cloud answers there."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds_max)
    try:
        connection.request("GET", "/_lab/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def control(url: str, path: str, method: str = "POST", body: bytes = b"{}") -> bytes:
    """Ask the cloud's own door, such as `/_lab/faults`. Raises LabError when it refuses."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"the lab's cloud at {url} does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise LabError(f"the lab's cloud refuses {method} {path}: {text.decode(errors='replace').strip()}")
    return text


def await_answer(url: str, log: Path, is_alive: Callable[[], bool]) -> None:
    """Return when the cloud answers; LabError with the end of its log when it has ended, or does not in time."""
    until = time.monotonic() + START_SECONDS_MAX
    while not answers(url, seconds_max=0.5):
        ended = not is_alive()
        if ended or time.monotonic() > until:
            said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            what = "ended at its start" if ended else f"did not answer in {START_SECONDS_MAX:g} s"
            raise LabError(f"the lab's cloud at {url} {what}:\n{said}")
        time.sleep(0.05)


def _environment() -> dict[str, str]:
    package = Path(__file__).resolve().parents[3]
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": os.environ.get("HOME", "/"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH", "")])),
        "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
        "MOTO_ENABLE_AMI_VALIDATION": "true",
    }


def _runs(town: Town, module: str) -> bool:
    """Whether the lab runs a process of that module."""
    return any(row["running"] and module in row["words"] for row in town.status()["processes"])


def _listen_as_before(town: Town, known: Path) -> socket.socket:
    """At the port that clients already know, where it is still free."""
    if known.exists():
        with contextlib.suppress(LabError):
            return town.listen_outside(urlsplit(known.read_text().strip()).port or 0)
    return town.listen_outside()
