"""What a host shows the world: addresses, routes, open ports, units, timetables, mail, calls. Changes nothing.

This file is sent to hosts as it stands and run by their own Python (3.9 or newer): standard library only. Asked before
and after a drill, it tells whether anything of production has changed. What changes by itself (counters, process
numbers, connections of clients) is left out.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import socket
import subprocess
import sys
from typing import Any

CRON = ("/etc/crontab", "/etc/cron.*/*", "/var/spool/cron/*", "/var/spool/cron/*/*")
TIMETABLES = (*CRON, "/etc/systemd/system/*.timer")
NAMING = ("/etc/resolv.conf", "/etc/hosts", "/etc/hostname")
MAIL = ("/var/spool/postfix/[adhim]*/*", "/var/spool/exim4/input/*", "/var/spool/mqueue/*", "/var/mail/*")
LISTENING = "0A"
BEGUN = ("01", "02")  # established, and asked for
MAPPED = bytes(10) + b"\xff\xff"


def appearance(request: dict[str, Any]) -> dict[str, str]:
    """Each thing by its name, as text."""
    shown = {"name": socket.gethostname()}
    for about, words in (("addresses", "ip -br addr"), ("routes", "ip route"), ("routes6", "ip -6 route")):
        shown[about] = said(words.split())
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        shown["open " + protocol] = " ".join(ports(protocol))
    for unit in request["units"]:
        for word in ("is-active", "is-enabled"):
            shown["%s %s" % (unit, word)] = said(["systemctl", word, unit + ".service"])
    if request["estate"]:
        shown["mail"] = " ".join(sorted(os.path.basename(path) for each in MAIL for path in glob.glob(each)))
        shown["calls"] = " ".join(calls(set(request["estate"])))
    for pattern in TIMETABLES + NAMING:
        for path in sorted(glob.glob(pattern)):
            shown[path] = digest(path)
    return shown


def said(words: list[str]) -> str:
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return "\n".join(sorted(line.strip() for line in done.stdout.splitlines()))


def ports(protocol: str) -> list[str]:
    """Local ends that take connections (TCP) or datagrams, as the kernel writes them."""
    path = "/proc/net/" + protocol
    if not os.path.exists(path):
        return []
    with open(path, encoding="ascii") as stream:
        rows = [line.split() for line in stream.readlines()[1:]]
    bound = [row[1] for row in rows if protocol.startswith("udp") or row[3] == LISTENING]
    return sorted(set(bound))


def calls(estate: set[str]) -> list[str]:
    """Machines and ports beyond the estate that this host holds connections to which it began itself."""
    found = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not os.path.exists(path):
            continue
        with open(path, encoding="ascii") as stream:
            rows = [line.split() for line in stream.readlines()[1:]]
        taken = {row[1].split(":")[1] for row in rows if row[3] == LISTENING}
        begun = [row[2] for row in rows if row[3] in BEGUN and row[1].split(":")[1] not in taken]
        found |= {end for end in map(readable, begun) if end[0] not in estate and not end[0].startswith("127.")}
    return sorted("%s:%d" % end for end in found)


def readable(end: str) -> tuple[str, int]:
    """An address as the kernel writes it: words of four bytes, each the other way round."""
    where, _, port = end.partition(":")
    words = [bytes.fromhex(where[at : at + 8])[::-1] for at in range(0, len(where), 8)]
    packed = b"".join(words)
    if packed.startswith(MAPPED):
        packed = packed[12:]
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed), int(port, 16)


def digest(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except OSError as error:
        return error.strerror or "not read"


if __name__ == "__main__":
    print("result " + json.dumps(appearance(json.loads(sys.argv[1]))))
