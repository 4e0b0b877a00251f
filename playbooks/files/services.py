"""Starts or stops the services of one system on their host, and waits for their ports. Sent to the host as it stands.

Usage: python3 - REQUEST, a JSON object:
  do         start | drain | stop (drain leaves the databases alone, stop ends them too)
  services   [{name, port, address}] in start order, of this host alone
  databases  [{name}] units of this host alone

Clients wait while it runs, so it imports little: a module such as subprocess would double its time.
Prints one JSON object {changed, report}. Running it again changes nothing. Exit 1: the host did not do it, and stderr
says why.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

MYPY = False  # true for the type checker alone
if MYPY:
    from typing import Any

SECONDS_MAX = 60
POLL_SECONDS = 0.005


class Refused(Exception):
    """The host did not do what it was told."""


def main() -> int:
    asked = json.loads(sys.argv[1])
    try:
        done = start(asked) if asked["do"] == "start" else stop(asked)
    except Refused as error:
        print(str(error), file=sys.stderr)
        return 1
    print(json.dumps(done))
    return 0


def start(asked: dict[str, Any]) -> dict[str, Any]:
    """Databases first. A service that runs is left alone; all will start again after a reboot."""
    services = asked["services"]
    names = [service["name"] + ".service" for service in services]
    open_before = all(accepts(service) for service in services)
    enabling = Systemctl(["enable", *names]) if names else None
    units = [database["name"] + ".service" for database in asked["databases"]] + names
    if units:
        Systemctl(["start", *units]).wait()
    if enabling is not None:
        enabling.wait()
    await_ports(services, accepting=True)
    report = {service["name"]: dict(service, active="active", port_open=True) for service in services}
    return {"changed": not open_before, "report": {"services": report}}


def stop(asked: dict[str, Any]) -> dict[str, Any]:
    """Services, the last started first; each finishes what it has accepted, that is what its stop signal asks for."""
    services = asked["services"]
    open_before = any(accepts(service) for service in services)
    databases = [database["name"] for database in asked["databases"]] if asked["do"] == "stop" else []
    # One after the other: a service may need those that were started before it until it has ended.
    for name in [service["name"] for service in reversed(services)] + databases:
        Systemctl(["stop", name + ".service"]).wait()
    await_ports(services, accepting=False)
    stopped = {service["name"]: dict(service, active="inactive", port_open=False) for service in services}
    report: dict[str, Any] = {"services": stopped}
    if asked["do"] == "stop":
        report["databases"] = databases
    return {"changed": open_before, "report": report}


def await_ports(services: list[dict[str, Any]], accepting: bool) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    for service in services:
        while accepts(service) != accepting:
            if time.monotonic() > deadline:
                state = "does not accept connections" if accepting else "still accepts connections"
                raise Refused(
                    "%s %s on port %s of %s after %s s"
                    % (service["name"], state, service["port"], service["address"], SECONDS_MAX)
                )
            time.sleep(POLL_SECONDS)


class Systemctl:
    """One systemctl. It returns when systemd has seen the thing done; another code than 0 is a refusal."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.said, told = os.pipe()
        streams = [(os.POSIX_SPAWN_DUP2, told, 1), (os.POSIX_SPAWN_DUP2, told, 2)]
        try:
            self.process = os.posix_spawnp("systemctl", ["systemctl", *words], os.environ, file_actions=streams)
        except FileNotFoundError:
            raise Refused("this host has no systemctl") from None
        finally:
            os.close(told)

    def wait(self) -> None:
        with os.fdopen(self.said, "rb") as stream:
            said = stream.read().decode(errors="replace").strip()
        code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        if code:
            raise Refused("systemctl %s ended with %s: %s" % (" ".join(self.words), code, said))


def accepts(service: dict[str, Any]) -> bool:
    try:
        socket.create_connection((service["address"], service["port"]), timeout=2).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
