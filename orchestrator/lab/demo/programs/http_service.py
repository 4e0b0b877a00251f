"""The HTTP manners that filing and archive share: JSON answers, control from the host itself, an orderly end.

On SIGTERM the service stops accepting, finishes the requests it has accepted, and exits 0. Each answer closes its
connection, so that clients look the name up again and a stopped service leaves nobody hanging.
"""

import json
import os
import signal
import socket
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .gate import GateClosedForGood, WriteGate, WritersDidNotLeave

BODY_BYTES_MAX = 64 * 1024 * 1024
REQUEST_SECONDS_MAX = 30.0


class Refused(Exception):
    """A request that is answered with an error status."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Service:
    """What a demo application answers. Override what it serves; the rest is 404."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.gate = WriteGate()

    def health(self) -> tuple[int, dict[str, Any]]:
        raise Refused(404, "no health here")

    def get(self, path: str, query: dict[str, str]) -> Any:
        """A JSON value, or bytes as they are."""
        raise Refused(404, f"nothing at {path}")

    def write(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        """Called inside the gate; returns only when the write is durable."""
        raise Refused(404, f"nothing at {path}")


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = False  # an accepted request is finished before the program ends
    block_on_close = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        self.service = service
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # The standard server asks DNS for its own name here, and clients' DNS may be the thing that is broken.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, (ConnectionError, TimeoutError)):
            return  # the client went away; it will ask again
        super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = REQUEST_SECONDS_MAX
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard server's own name for it
        """Only errors are logged; twenty lines a second would say nothing."""

    def answer(self, status: int, value: Any) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(value, bytes) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Site", self.server.service.site)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _answer_with(self, call: Any) -> None:
        site = self.server.service.site
        try:
            status, value = call()
        except Refused as refusal:
            status, value = refusal.status, {"error": str(refusal), "site": site}
        except GateClosedForGood:
            status, value = 503, {"error": "stopping", "site": site}
        except OSError as error:
            status, value = 503, {"error": f"{type(error).__name__}: {error}", "site": site}
        self.answer(status, value)

    def _read_body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            raise Refused(411, "Content-Length is needed")
        if int(length) > BODY_BYTES_MAX:
            raise Refused(413, f"more than {BODY_BYTES_MAX} bytes")
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            raise Refused(400, f"{len(body)} of {length} bytes arrived")
        return body

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        service = self.server.service
        if parts.path == "/healthz":
            self._answer_with(service.health)
        else:
            self._answer_with(lambda: (200, service.get(parts.path, query)))

    def _write(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        service = self.server.service

        def call() -> tuple[int, Any]:
            body = self._read_body()
            if path.startswith("/control/"):
                return 200, self._control(path, body)
            with service.gate.writing():
                return 200, service.write(self.command, path, body)

        self._answer_with(call)

    do_POST = _write  # noqa: N815 - the names are the standard server's
    do_PUT = _write  # noqa: N815

    def _control(self, path: str, body: bytes) -> dict[str, Any]:
        here = str(self.server.server_address[0])
        if self.client_address[0] not in (here, "127.0.0.1"):
            raise Refused(403, "control is for the host itself")
        gate = self.server.service.gate
        if path == "/control/resume":
            return {"was_held": gate.release()}
        if path != "/control/quiesce":
            raise Refused(404, f"nothing at {path}")
        seconds = float(json.loads(body)["seconds"])
        if not 0 < seconds <= 120:
            raise Refused(400, f"seconds must be within 0 and 120, not {seconds:g}")
        try:
            return {"drained_seconds": round(gate.hold(seconds), 4), "held_seconds": seconds}
        except WritersDidNotLeave as error:
            raise Refused(504, str(error)) from error


def serve(address: str, port: int, service: Service) -> None:
    """Serve until SIGTERM or SIGINT, then end in order."""
    server = _Server((address, port), service)
    # Blocked in every thread and waited for: a handler runs in the main thread alone, and the kernel may well give the
    # signal to another one, which wakes nobody.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    print(f"{service.site}: serving on {address}:{port} as process {os.getpid()}", flush=True)
    signal.sigwait(ends)
    server.shutdown()  # nothing more is accepted
    server.socket.close()
    service.gate.end()
    thread.join()
    server.server_close()  # waits for every accepted request
    print(f"{service.site}: ended", flush=True)
