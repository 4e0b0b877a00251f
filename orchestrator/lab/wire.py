"""How the lab's daemon is spoken to: one JSON line each way over a unix socket, descriptors beside the first byte."""

import array
import contextlib
import json
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator.foundation.errors import LabError, MissingPackage

MESSAGE_BYTES_MAX = 256 * 1024 * 1024
DESCRIPTORS_MAX = 16
CONTROL_SOCKET = "control.sock"


@contextlib.contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """The control socket of a lab under a short name, however deep the folder (a socket address holds 107 bytes)."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{CONTROL_SOCKET}"
    finally:
        os.close(descriptor)


def send(connection: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message; descriptors stay open here."""
    line = json.dumps(message).encode() + b"\n"
    sent = 0
    if descriptors:
        rights = array.array("i", descriptors)
        sent = connection.sendmsg([line[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    connection.sendall(line[sent:])


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive one message with its descriptors, the caller's to close. ConnectionError when the peer is gone."""
    pieces: list[bytes] = []
    descriptors: list[int] = []
    size = 0
    while True:
        piece, ancillary, flags, _ = connection.recvmsg(1 << 20, socket.CMSG_LEN(DESCRIPTORS_MAX * 4))
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                descriptors.extend(numbers)
        size += len(piece)
        if not piece or flags & socket.MSG_CTRUNC or size > MESSAGE_BYTES_MAX:
            for descriptor in descriptors:
                os.close(descriptor)
            raise ConnectionError("the message broke off")
        pieces.append(piece)
        if piece.endswith(b"\n"):
            return json.loads(b"".join(pieces)), descriptors


_KINDS: dict[str, type[LabError]] = {"LabError": LabError, "MissingPackage": MissingPackage}


def error_as_json(error: LabError) -> dict[str, Any]:
    return {"error": {"kind": type(error).__name__, "message": error.message, "hint": error.hint}}


def error_from_json(value: dict[str, Any]) -> LabError:
    return _KINDS.get(value["kind"], LabError)(value["message"], hint=value["hint"])
