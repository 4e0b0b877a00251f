"""Authoritative DNS that answers from the zones which the cloud has put in force.

It is a process of its own that reads one file: as with Route 53, names go on being answered while the API is away.
A and CNAME records, weighted record sets, UDP and TCP. RFC 1035; other types of a known name are an empty answer.
"""

import contextlib
import json
import random
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "ANY": 255}
CLASS_IN = 1
REFUSED, NAME_ERROR, FORMAT_ERROR = 5, 3, 1
CNAMES_FOLLOWED_MAX = 8


def encode_name(name: str) -> bytes:
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def read_name(packet: bytes, place: int) -> tuple[str, int]:
    """The name at `place` and the place behind it. Questions carry no compression; a pointer is an error."""
    labels = []
    while length := packet[place]:
        if length > 63:
            raise ValueError("a compressed name in a question")
        labels.append(packet[place + 1 : place + 1 + length].decode("ascii").lower())
        place += 1 + length
    return ".".join(labels) + ".", place + 1


class Zones:
    """The zones file, read again whenever it changes."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        self._path = path
        self._chance = chance
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._records: dict[str, list[dict[str, Any]]] = {}
        self._zones: tuple[str, ...] = ()

    def _refresh(self) -> None:
        try:
            state = self._path.stat()
            seen = (state.st_mtime_ns, state.st_ino)
            if seen == self._seen:
                return
            zones = json.loads(self._path.read_text())
        except FileNotFoundError:
            return  # nothing is in force yet
        self._zones = tuple(zones)
        self._records = {}
        for records in zones.values():
            for record in records:
                self._records.setdefault(record["name"], []).append(record)
        self._seen = seen

    def authority(self, name: str) -> str | None:
        """The zone that `name` belongs to, None where it is not ours."""
        with self._lock:
            self._refresh()
            fitting = [zone for zone in self._zones if name == zone or name.endswith("." + zone)]
            return max(fitting, key=len, default=None)

    def find(self, name: str, kind: str) -> dict[str, Any] | None:
        """One record set: of several that share the name, the primary while it is healthy, or one drawn by weight;
        weight 0 only if all are 0.
        """
        with self._lock:
            self._refresh()
            sets = [record for record in self._records.get(name, []) if record["type"] == kind]
        if not sets:
            return None
        if any("failover" in record for record in sets):
            return min(sets, key=lambda record: (not record["healthy"], record["failover"]))  # PRIMARY sorts first
        weights = [float(record.get("weight", 1)) for record in sets]
        return self._chance.choices(sets, weights if any(weights) else None)[0]

    def knows(self, name: str) -> bool:
        with self._lock:
            return any(known == name or known.endswith("." + name) for known in self._records)


def answer(packet: bytes, zones: Zones) -> bytes:
    """The reply to one query; empty where the packet is no query at all."""
    if len(packet) < 12:
        return b""
    number, flags, questions = struct.unpack("!HHH", packet[:6])
    try:
        if flags & 0x8000 or questions != 1:
            raise ValueError("not one question")
        name, place = read_name(packet, 12)
        (kind,) = struct.unpack("!H", packet[place : place + 2])
    except (ValueError, IndexError, struct.error, UnicodeDecodeError):
        return struct.pack("!HHHHHH", number, 0x8000 | FORMAT_ERROR, 0, 0, 0, 0)
    question = packet[12 : place + 4]
    if zones.authority(name) is None:
        return struct.pack("!HHHHHH", number, 0x8000 | (flags & 0x0100) | REFUSED, 1, 0, 0, 0) + question
    records, known = _resolve(name, kind, zones)
    code = 0 if records or known else NAME_ERROR
    header = struct.pack("!HHHHHH", number, 0x8400 | (flags & 0x0100) | code, 1, len(records), 0, 0)
    return header + question + b"".join(records)


def _resolve(name: str, kind: int, zones: Zones) -> tuple[list[bytes], bool]:
    records: list[bytes] = []
    for _ in range(CNAMES_FOLLOWED_MAX):
        owner = encode_name(name)
        alias = zones.find(name, "CNAME")
        if alias is not None:
            target = alias["values"][0]
            records.append(_record(owner, "CNAME", alias["ttl"], encode_name(target)))
            name = target.rstrip(".").lower() + "."
            continue
        found = zones.find(name, "A") if kind in (TYPES["A"], TYPES["ANY"]) else None
        if found is not None:
            records += [_record(owner, "A", found["ttl"], socket.inet_aton(value)) for value in found["values"]]
        break
    return records, zones.knows(name)


def _record(owner: bytes, kind: str, ttl_seconds: int, data: bytes) -> bytes:
    return owner + struct.pack("!HHIH", TYPES[kind], CLASS_IN, ttl_seconds, len(data)) + data


class _Server:
    zones: Zones


class _UdpServer(_Server, socketserver.ThreadingUDPServer):
    daemon_threads = True
    allow_reuse_address = True


class _TcpServer(_Server, socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class _UdpHandler(socketserver.BaseRequestHandler):
    server: _UdpServer

    def handle(self) -> None:
        packet, client = self.request
        if reply := answer(packet, self.server.zones):
            with contextlib.suppress(OSError):  # the client went away
                client.sendto(reply, self.client_address)


class _TcpHandler(socketserver.StreamRequestHandler):
    timeout = 5
    server: _TcpServer

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client went away
            while len(head := self.rfile.read(2)) == 2:
                reply = answer(self.rfile.read(struct.unpack("!H", head)[0]), self.server.zones)
                self.wfile.write(struct.pack("!H", len(reply)) + reply)


def _bind_both(address: str, port: int) -> tuple[_UdpServer, _TcpServer]:
    """One number for both; a free UDP port may be somebody's TCP port, so several are tried where any will do."""
    for attempt in range(20):
        udp = _UdpServer((address, port), _UdpHandler)
        try:
            return udp, _TcpServer((address, udp.server_address[1]), _TcpHandler)
        except OSError:
            udp.server_close()
            if port or attempt == 19:
                raise
    raise AssertionError("the last attempt returns or raises")


def start(address: str, port: int, zones_file: Path, *, chance: random.Random | None = None) -> tuple[str, int]:
    """Answer on UDP and TCP in threads of this process; returns where (port 0 takes a free one)."""
    zones = Zones(zones_file, chance or random.Random())
    udp, tcp = _bind_both(address, port)
    for server in (udp, tcp):
        server.zones = zones
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    return str(udp.server_address[0]), int(udp.server_address[1])


def main(words: Sequence[str]) -> None:
    """`python -m orchestrator.lab.cloud.name_server ADDRESS PORT ZONES_FILE`."""
    address, port = start(words[0], int(words[1]), Path(words[2]))
    print(f"names answered on {address}:{port}", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1:])
