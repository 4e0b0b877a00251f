"""Starts or stops the services of one system on their host, and waits for their ports. Sent to the host as it stands.

Usage: python3 - REQUEST, a JSON object:
  do         start | drain | stop (drain leaves the databases alone, stop ends them too)
  prefix, system, number, ticket
             the order by which services are started, and below what this host keeps those it obeyed (see fence.py);
             without a number nothing is compared
  services   [{name, port, address}] in start order, of this host alone
  databases  [{name}] units of this host alone

Clients wait while it runs, so it imports little: a module such as subprocess would double its time.
A start that comes late, after a newer order to fence, unfence or start was obeyed, starts nothing. It looks, notes its
order and starts under the lock of fence.py; once systemd has started all, others may go on while it waits for ports.
Prints one JSON object {changed, report}. Running it again changes nothing. Exit 1: the host did not do it, and stderr
says why. Exit 3: a newer order was obeyed before.
"""

from __future__ import annotations

import fcntl
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
OBEYED = ("json", "lifted", "started")  # the fence that stands, and the newest orders that lifted one and that started


class Refused(Exception):
    """The host did not do what it was told."""


class TooLate(Refused):
    """It obeyed a newer order before."""


def main() -> int:
    asked = json.loads(sys.argv[1])
    try:
        done = start(asked) if asked["do"] == "start" else stop(asked)
    except Refused as error:
        print(str(error), file=sys.stderr)
        return 3 if isinstance(error, TooLate) else 1
    print(json.dumps(done))
    return 0


def start(asked: dict[str, Any]) -> dict[str, Any]:
    """Databases first. A service that runs is left alone; all will start again after a reboot."""
    services = asked["services"]
    names = [service["name"] + ".service" for service in services]
    open_before = all(accepts(service) for service in services)
    units = [database["name"] + ".service" for database in asked["databases"]] + names
    alone = obey(asked) if asked.get("number") else None
    try:
        enabling = Systemctl(["enable", *names]) if names else None
        if units:
            Systemctl(["start", *units]).wait()
        if enabling is not None:
            enabling.wait()
    finally:
        if alone is not None:
            os.close(alone)
    await_ports(services, accepting=True)
    report = {service["name"]: dict(service, active="active", port_open=True) for service in services}
    return {"changed": not open_before, "report": {"services": report}}


def obey(asked: dict[str, Any]) -> int:
    """Note the order, durably; TooLate where a newer one was obeyed. Others wait until the descriptor is closed."""
    folder = asked["prefix"] + "/etc/skerry/fence"
    path = folder + "/" + asked["system"]
    os.makedirs(folder, mode=0o755, exist_ok=True)
    descriptor = os.open(path + ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    mine, obeyed = order(asked), [order(said) for said in (read(path + "." + kind) for kind in OBEYED) if said]
    newest = max(obeyed, default=(0, 0))
    if newest > mine:
        raise TooLate(
            "%s obeyed number %s after this order of number %s was given: it came too late"
            % (asked["system"], newest[0], mine[0])
        )
    note = {"number": mine[0], "ticket": mine[1], "side": asked.get("side", ""), "at": asked.get("at", "")}
    before = read(path + ".started")
    if before is None or order(before) != mine:
        write(path + ".started", json.dumps(note, sort_keys=True) + "\n")
    permit(asked)
    return descriptor


def permit(asked: dict[str, Any]) -> None:
    """Where starts are guarded (see fence.py), they are permitted in this boot of the host."""
    if not os.path.exists("%s/etc/skerry/starts/%s.json" % (asked["prefix"], asked["system"])):
        return
    permits = asked["prefix"] + "/run/skerry/permits"
    os.makedirs(permits, mode=0o755, exist_ok=True)
    with open("/proc/sys/kernel/random/boot_id") as stream:
        boot = stream.read()
    write(permits + "/" + asked["system"], boot)


def order(said: dict[str, Any]) -> tuple[int, int]:
    """Newer orders compare greater."""
    return int(said["number"]), int(said.get("ticket", 0))


def read(path: str) -> dict[str, Any] | None:
    try:
        with open(path) as stream:
            found: dict[str, Any] = json.load(stream)
            return found
    except FileNotFoundError:
        return None


def write(path: str, text: str) -> None:
    """Appears whole and durable."""
    aside = "%s.skerry-%s" % (path, os.getpid())
    with open(aside, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fchmod(stream.fileno(), 0o644)
        os.fsync(stream.fileno())
    os.rename(aside, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


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
