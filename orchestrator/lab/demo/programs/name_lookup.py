"""A client's DNS: asks one server for A records over UDP and remembers answers for their TTL, no longer."""

import secrets
import socket
import struct
import time

TYPE_A = 1
CLASS_IN = 1


class NameUnknown(OSError):
    """The server does not answer, or knows no address of that name."""


def encode_name(name: str) -> bytes:
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".") if label]
    if any(len(label) > 63 for label in labels):
        raise ValueError(f"a label of {name!r} is longer than 63 bytes")
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def skip_name(packet: bytes, place: int) -> int:
    while True:
        length = packet[place]
        if length >= 0xC0:
            return place + 2
        if length == 0:
            return place + 1
        place += 1 + length


class NameLookup:
    """Addresses of names, at most as old as their TTL."""

    def __init__(self, server: str, port: int, *, timeout_seconds: float = 1.0) -> None:
        self._server = (server, port)
        self._timeout_seconds = timeout_seconds
        self._known: dict[str, tuple[float, str]] = {}

    def address(self, name: str) -> str:
        valid_until, address = self._known.get(name, (0.0, ""))
        if time.monotonic() < valid_until:
            return address
        address, ttl_seconds = self._ask(name)
        self._known[name] = (time.monotonic() + ttl_seconds, address)
        return address

    def _ask(self, name: str) -> tuple[str, int]:
        number = secrets.randbits(16)
        question = encode_name(name) + struct.pack("!HH", TYPE_A, CLASS_IN)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(self._timeout_seconds)
            try:
                client.connect(self._server)
                client.send(struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + question)
                packet = client.recv(4096)
            except OSError as error:
                raise NameUnknown(f"{self._server[0]}:{self._server[1]} does not answer for {name}: {error}") from error
        try:
            return self._read_answer(packet, number, name)
        except (IndexError, struct.error) as error:
            raise NameUnknown(f"an answer for {name} that cannot be read") from error

    def _read_answer(self, packet: bytes, number: int, name: str) -> tuple[str, int]:
        answered, flags, questions, answers, _, _ = struct.unpack("!HHHHHH", packet[:12])
        if answered != number or flags & 0x000F or not answers:
            raise NameUnknown(f"no address for {name} (response code {flags & 0x000F})")
        place = 12
        for _ in range(questions):
            place = skip_name(packet, place) + 4
        for _ in range(answers):
            place = skip_name(packet, place)
            kind, _, ttl_seconds, length = struct.unpack("!HHIH", packet[place : place + 10])
            place += 10
            if kind == TYPE_A and length == 4:
                return socket.inet_ntoa(packet[place : place + 4]), int(ttl_seconds)
            place += length
        raise NameUnknown(f"no address for {name}")
