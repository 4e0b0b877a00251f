"""targets/haproxy against a real HAProxy, seen from a client: an HTTP request through it names the side that served."""

import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from orchestrator.contracts.target import FrontAnswer
from orchestrator.foundation.errors import HostUnreachable, TargetError, TargetUnreachable
from orchestrator.hosts.local import LocalTransport
from orchestrator.model.host import Host
from orchestrator.model.system import HaproxyFront
from orchestrator.targets.haproxy import HaproxyTraffic
from tests.conftest import SYSTEM_PATH
from tests.fakes.transport import FakeTransport
from tests.laws.front_laws import FrontLaws
from tests.platform.local_sshd import free_port

pytestmark = pytest.mark.platform("haproxy")
ADDRESSES = ("127.10.1.11", "127.30.1.11")
PROXY = Host(name="onprem-lb1", site="onprem", address="127.0.0.1", become=False)
CONFIGURATION = """
global
    stats socket {folder}/admin.sock mode 600 level {level}
    server-state-file {folder}/state
defaults
    mode http
    timeout connect 2s
    timeout client 20s
    timeout server 20s
    load-server-state-from-file global
"""
SERVICE = """
frontend {name}
    bind 127.0.0.1:{port}
    default_backend {name}
backend {name}
    server source {source}:{served} disabled
    server cloud {cloud}:{served} disabled
"""


class _Side(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        address = str(self.connection.getsockname()[0]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(address)))
        self.end_headers()
        self.wfile.write(address)

    def log_message(self, *words: object) -> None:
        """Tests ask what was answered."""


class Proxy:
    """A HAProxy with two backends, `filing` and `archive`, each with a server at either side."""

    def __init__(self, folder: Path, served: int) -> None:
        self.folder = folder
        self.ports = {name: free_port("127.0.0.1") for name in ("filing", "archive")}
        self._served = served
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, level: str = "admin") -> None:
        text = CONFIGURATION.format(folder=self.folder, level=level)
        for name, port in self.ports.items():
            text += SERVICE.format(name=name, port=port, source=ADDRESSES[0], cloud=ADDRESSES[1], served=self._served)
        (self.folder / "haproxy.cfg").write_text(text)
        environment = {**os.environ, "PATH": SYSTEM_PATH}
        self._process = subprocess.Popen(
            ["haproxy", "-db", "-q", "-f", self.folder / "haproxy.cfg"], env=environment, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 30
        while not self._accepts():
            assert time.monotonic() < until
            time.sleep(0.02)

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.ports["archive"])) == 0

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            (self.folder / "admin.sock").unlink(missing_ok=True)

    def wish(self, backend: str) -> HaproxyFront:
        return HaproxyFront(
            name=f"{backend}.skerry.test",
            host=PROXY.name,
            backend=backend,
            port=self.ports.get(backend, 1),
            socket=str(self.folder / "admin.sock"),
            state_file=str(self.folder / "state"),
        )

    def served_by(self, wish: HaproxyFront) -> str | None:
        """What a client's request is answered with: the address of the side, None for 503."""
        connection = http.client.HTTPConnection("127.0.0.1", wish.port, timeout=20)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            text = answer.read().decode()
            return text if answer.status == 200 else None
        finally:
            connection.close()


@pytest.fixture(scope="module")
def sides() -> Iterator[int]:
    """The port at which both sides answer with their address."""
    first = ThreadingHTTPServer((ADDRESSES[0], 0), _Side)
    port = int(first.server_address[1])
    servers = [first, ThreadingHTTPServer((ADDRESSES[1], port), _Side)]
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield port
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def proxy(tmp_path: Path, sides: int) -> Iterator[Proxy]:
    made = Proxy(tmp_path, sides)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def front() -> HaproxyTraffic:
    return HaproxyTraffic(LocalTransport, {PROXY.name: PROXY})


class TestHaproxyTraffic(FrontLaws):
    addresses = ADDRESSES

    @pytest.fixture
    def wish(self, proxy: Proxy) -> HaproxyFront:
        return proxy.wish("filing")

    @pytest.fixture
    def other(self, proxy: Proxy) -> HaproxyFront:
        return proxy.wish("archive")

    @pytest.fixture
    def unknown(self, proxy: Proxy) -> HaproxyFront:
        return proxy.wish("nowhere")

    @pytest.fixture
    def authority(self, proxy: Proxy) -> Callable[[HaproxyFront], str | None]:
        return proxy.served_by

    def test_what_a_switch_said_outlives_a_kill_of_the_proxy(
        self, front: HaproxyTraffic, wish: HaproxyFront, other: HaproxyFront, proxy: Proxy
    ) -> None:
        front.switch(other, ADDRESSES[0], key="k")
        front.switch(wish, ADDRESSES[0], key="k")
        front.switch(wish, ADDRESSES[1], key="k")
        proxy.kill()
        proxy.start()
        assert (proxy.served_by(wish), proxy.served_by(other)) == (ADDRESSES[1], ADDRESSES[0])
        assert front.current(wish) == FrontAnswer(address=ADDRESSES[1], ttl_seconds=0)

    def test_a_client_whose_connection_stands_open_is_moved_too(
        self, front: HaproxyTraffic, wish: HaproxyFront
    ) -> None:
        front.switch(wish, ADDRESSES[0], key="k")
        client = http.client.HTTPConnection("127.0.0.1", wish.port, timeout=20)
        for address in (ADDRESSES[0], ADDRESSES[1]):
            front.switch(wish, address, key="k")
            client.request("GET", "/")
            assert client.getresponse().read().decode() == address
        client.close()

    def test_an_address_that_no_server_has_changes_nothing(
        self, front: HaproxyTraffic, wish: HaproxyFront, proxy: Proxy
    ) -> None:
        front.switch(wish, ADDRESSES[0], key="k")
        with pytest.raises(TargetError, match=r"backend filing at onprem-lb1 has 0 servers at 127\.20\.1\.11"):
            front.switch(wish, "127.20.1.11", key="k")
        assert proxy.served_by(wish) == ADDRESSES[0]

    def test_a_backend_with_two_servers_ready_was_not_switched_by_us(
        self, front: HaproxyTraffic, wish: HaproxyFront
    ) -> None:
        front.switch(wish, ADDRESSES[0], key="k")
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(wish.socket)
            admin.sendall(b"set server filing/cloud state ready\n")
            admin.recv(100)
        for asked in (lambda: front.current(wish), lambda: front.switch(wish, ADDRESSES[1], key="k")):
            with pytest.raises(TargetError, match="2 servers of backend filing are ready"):
                asked()

    def test_a_proxy_that_grants_too_little_is_named(self, front: HaproxyTraffic, proxy: Proxy) -> None:
        proxy.kill()
        proxy.start(level="user")
        with pytest.raises(TargetError, match=r"asked to set server filing/cloud state maint: Permission denied"):
            front.switch(proxy.wish("filing"), ADDRESSES[0], key="k")

    def test_a_proxy_that_does_not_run_says_what_is_missing(self, front: HaproxyTraffic, proxy: Proxy) -> None:
        proxy.kill()
        with pytest.raises(TargetError, match="onprem-lb1") as caught:
            front.current(proxy.wish("filing"))
        assert "Debian's package haproxy" in caught.value.hint

    def test_a_lost_host_is_unreachable_and_worth_another_try(self, proxy: Proxy) -> None:
        lost = FakeTransport(PROXY)
        lost.trouble = HostUnreachable("onprem-lb1 cannot be reached: no route")
        with pytest.raises(TargetUnreachable, match="no route") as caught:
            HaproxyTraffic(lambda host: lost, {PROXY.name: PROXY}).current(proxy.wish("filing"))
        assert caught.value.retryable
