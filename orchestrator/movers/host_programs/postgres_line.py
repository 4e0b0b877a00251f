"""Runs a program of PostgreSQL on the standby's host, and lets it receive no faster than it may at the moment.

This file is sent to hosts as it stands and run by their own Python (3.9 or newer): standard library only. It runs as
the server's user.

A base backup cannot be stopped and resumed, and pg_basebackup's own --max-rate holds from its beginning to its end. So
it connects to a port of loopback here, and all that it receives passes through this program; what is encrypted stays
so. The limit stands in a file, and may change at any moment.

Usage: python3 - REQUEST, a JSON object {words, upstream: [address, port], limit_file}. In `words`, {port} stands for
the port of loopback. The file holds bytes per second as digits; 0 is no limit. Streams and exit code are the words'.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
LOOK_EVERY_SECONDS = 0.2
PIECE_BYTES_MAX = 256 * 1024
PIECES_PER_SECOND = 16  # of a limited line: short enough to feel even, long enough to cost nothing
CONNECT_SECONDS_MAX = 10.0


class Limit:
    """Bytes per second for all connections together."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lock = threading.Lock()
        self.bytes_per_second = 0
        self.next_look = 0.0
        self.free_at = 0.0

    def present(self) -> int:
        """What the file says; what it said last, while it cannot be read."""
        now = time.monotonic()
        if now >= self.next_look:
            self.next_look = now + LOOK_EVERY_SECONDS
            try:
                with open(self.file) as stream:
                    self.bytes_per_second = int(stream.read())
            except (OSError, ValueError):
                pass
        return self.bytes_per_second

    def piece_bytes(self) -> int:
        with self.lock:
            limit = self.present()
        return max(1024, min(PIECE_BYTES_MAX, limit // PIECES_PER_SECOND)) if limit else PIECE_BYTES_MAX

    def await_turn(self, count: int) -> None:
        """Until so many bytes, which have been received, are paid for."""
        with self.lock:
            limit = self.present()
            now = time.monotonic()
            self.free_at = max(now, self.free_at) + count / limit if limit else now
            wait = self.free_at - now
        if wait > 0:
            time.sleep(wait)


def pass_on(source: socket.socket, target: socket.socket, limit: Limit | None) -> None:
    """Until the source ends; the target is told of the end."""
    try:
        while True:
            data = source.recv(limit.piece_bytes() if limit else PIECE_BYTES_MAX)
            if not data:
                break
            if limit:
                limit.await_turn(len(data))
            target.sendall(data)
    except OSError:
        pass  # either side is gone: the other hears it as an end
    for end, way in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
        try:
            end.shutdown(way)
        except OSError:
            pass


def serve(client: socket.socket, upstream: tuple[str, int], limit: Limit) -> None:
    with client:
        try:
            server = socket.create_connection(upstream, timeout=CONNECT_SECONDS_MAX)
        except OSError as error:
            sys.stderr.write("error: could not connect to server %s:%d: %s\n" % (*upstream, error))
            return
        with server:
            server.settimeout(None)
            there = threading.Thread(target=pass_on, args=(client, server, None), daemon=True)
            there.start()
            pass_on(server, client, limit)
            there.join()


def listen(listener: socket.socket, upstream: tuple[str, int], limit: Limit) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client, upstream, limit), daemon=True).start()


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> None:
    request = json.loads(sys.argv[1])
    address, port = request["upstream"]
    listener = socket.create_server(("127.0.0.1", 0))
    words = [word.replace("{port}", str(listener.getsockname()[1])) for word in request["words"]]
    # Before any thread of ours runs, as preexec_fn asks for; who connects meanwhile waits in the listener's queue.
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
    limit = Limit(request["limit_file"])
    threading.Thread(target=listen, args=(listener, (address, int(port)), limit), daemon=True).start()
    code = child.wait()
    sys.stdout.flush()
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
