"""Attempts from within a bubble to reach what it must not reach: each has to fail, and is told."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from orchestrator.hosts.host_programs.bubble.namespaces import EMPTY_PLACES, OF_THE_KERNEL, mount_points

CONNECT_SECONDS_MAX = 2.0
NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH)


def attempt_all(targets: list[dict[str, Any]], sockets: list[str], own_places: list[str]) -> dict[str, Any]:
    """Every attempt with what came of it; `isolated` when not one got through."""
    made = [attempt_network(target) for target in targets]
    made += [attempt_socket(path) for path in sockets]
    # A socket's name is covered by what takes writes and passes nothing on; it was tried as a socket.
    places = [place for place in mount_points() if is_of_the_host(place, own_places) and place not in sockets]
    made += [attempt_write(place) for place in places]
    made.append(look_at_interfaces())
    return {"isolated": not any(one["reached"] for one in made), "attempts": made}


def attempt_network(target: dict[str, Any]) -> dict[str, Any]:
    kind = socket.SOCK_DGRAM if target.get("datagram") else socket.SOCK_STREAM
    told = {"attempt": "network", "target": "%s %s:%s" % (target["name"], target["address"], target["port"])}
    family = socket.AF_INET6 if ":" in target["address"] else socket.AF_INET
    with socket.socket(family, kind) as caller:
        caller.settimeout(CONNECT_SECONDS_MAX)
        try:
            caller.connect((target["address"], int(target["port"])))
        except OSError as error:
            # Whatever else it says, a refusal too, somebody beyond the bubble said it.
            return {**told, "reached": error.errno not in NO_WAY, "outcome": error.strerror or str(error)}
    return {**told, "reached": True, "outcome": "connected"}


def attempt_socket(path: str) -> dict[str, Any]:
    """A socket of the host, by its name in the file system: those are reached from any network."""
    told = {"attempt": "socket", "target": path}
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as caller:
            try:
                caller.connect(path)
            except OSError as error:
                outcome = error.strerror or str(error)
                if error.errno == errno.EPROTOTYPE:
                    continue
                return {**told, "reached": False, "outcome": outcome}
        return {**told, "reached": True, "outcome": "connected"}
    return {**told, "reached": True, "outcome": "a socket of another kind answers there"}


def is_of_the_host(place: str, own_places: list[str]) -> bool:
    return place not in own_places and not place.startswith(OF_THE_KERNEL) and place not in EMPTY_PLACES


def attempt_write(place: str) -> dict[str, Any]:
    told = {"attempt": "write", "target": place}
    if not os.path.isdir(place):
        return {**told, "reached": os.access(place, os.W_OK), "outcome": "a file, asked whether it may be written"}
    path = os.path.join(place, ".skerry-bubble-attempt")
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        return {**told, "reached": False, "outcome": error.strerror or str(error)}
    os.unlink(path)
    return {**told, "reached": True, "outcome": "written"}


def look_at_interfaces() -> dict[str, Any]:
    with open("/proc/net/dev", encoding="ascii") as stream:
        names = sorted(line.split(":")[0].strip() for line in stream.readlines()[2:])
    return {"attempt": "interfaces", "target": "", "reached": names != ["lo"], "outcome": ", ".join(names)}
