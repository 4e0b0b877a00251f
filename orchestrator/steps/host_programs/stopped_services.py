"""Says of each service whether its unit runs, whether it would start at boot, and whether anything accepts on its port.

This file is sent to hosts as it stands and run by their own Python (3.9 or newer): standard library only, and little of
it, for clients wait: systemd is asked once, of all units. It changes nothing.

Usage: python3 - REQUEST, a JSON object {services: [{name, port, address}]}. Says `result {services: [{name, active,
enabled, port_open}]}`, in the same order; the words are systemd's.
"""

from __future__ import annotations

import json
import os
import socket
import sys

MYPY = False  # true for the type checker alone
if MYPY:
    from typing import Any

WANTED = ("ActiveState", "UnitFileState")


def main() -> None:
    asked = json.loads(sys.argv[1])["services"]
    words = ["systemctl", "show", "--property=" + ",".join(WANTED)] + [each["name"] + ".service" for each in asked]
    said, told = os.pipe()
    process = os.posix_spawnp(words[0], words, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, told, 1)])
    os.close(told)
    ports = [is_open(each) for each in asked]
    values: dict[str, list[str]] = {name: [] for name in WANTED}
    with os.fdopen(said) as stream:
        for line in stream.read().splitlines():
            name, _, value = line.partition("=")
            if name in values:
                values[name].append(value)
    os.waitpid(process, 0)
    if any(len(found) != len(asked) for found in values.values()):
        raise SystemExit("systemctl did not tell of every unit: " + json.dumps(values))
    rows = zip(asked, ports, *values.values())
    services = [
        {"name": each["name"], "active": active, "enabled": enabled, "port_open": port}
        for each, port, active, enabled in rows
    ]
    sys.stdout.write("result " + json.dumps({"services": services}) + "\n")


def is_open(service: dict[str, Any]) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((service["address"], service["port"])) == 0


if __name__ == "__main__":
    main()
