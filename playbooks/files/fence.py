"""Fences one side of a system on its host, or lifts the fence. Sent to the host by fence.yml and unfence.yml.

Usage: python3 - REQUEST, a JSON object:
  do         fence | unfence
  prefix     put before every path
  system     whose fence
  number, side, at
  ticket     which of two orders with the same number is the newer one; 0 where nobody counts
  services   [{name, port, address}] in start order, of this host alone
  databases  [{name, data_directory}] of this host alone

It is one program and not ten tasks, so that nothing can start between two of them, and because clients wait meanwhile.
The order: guards, record, then stop; from the moment the record is on disk no guarded unit starts any more.
Orders may come late: from a process that died, or was asleep, or through a network that was cut. The host remembers
the newest order that it obeyed, also once its fence is lifted, and obeys no older one; it looks and acts under a lock.
Prints one JSON object {changed, report}. Running it again changes nothing. Exit 3: a newer order was obeyed before.
"""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from typing import Any, Dict, Optional, Tuple

SECONDS_MAX = 60
GUARD = """#!/bin/sh
# Refuses the start of a unit while its system is fenced. Usage: fence-guard RECORD [DATA_DIRECTORY]
# A database may start behind the fence as a standby: it takes no writes, and the new side can feed it.
[ -e "$1" ] || exit 0
[ -n "$2" ] && [ -e "$2/standby.signal" ] && exit 0
echo "fenced by $1: another side holds the authority to write. Lift the fence with skerry, not by hand." >&2
exit 1
"""


def main() -> int:
    asked = json.loads(sys.argv[1])
    fence = Fence(asked)
    alone = fence.alone()  # held until this process ends
    standing = fence.standing()
    newest = fence.newest(standing)
    if newest > order(asked):
        name, what = asked["system"], "is fenced" if standing is not None else "was unfenced"
        print(
            f"{name} {what} by number {newest[0]}, which is newer than {asked['number']}"
            if newest[0] > asked["number"]
            else f"{name} {what} by number {newest[0]} after this order was given: it came too late",
            file=sys.stderr,
        )
        return 3
    try:
        report = fence.put() if asked["do"] == "fence" else fence.lift(standing)
    except Refused as error:
        print(str(error), file=sys.stderr)
        return 1
    print(json.dumps({"changed": fence.changed, "report": report}))
    os.close(alone)
    return 0


def order(said: Dict[str, Any]) -> Tuple[int, int]:
    """Newer orders compare greater."""
    return int(said["number"]), int(said.get("ticket", 0))


class Refused(Exception):
    """The host did not do what it was told."""


class Fence:
    def __init__(self, asked: Dict[str, Any]) -> None:
        self.asked = asked
        prefix = asked["prefix"]
        self.units_folder = prefix + "/etc/systemd/system"
        self.folder = prefix + "/etc/skerry/fence"
        self.record = f"{self.folder}/{asked['system']}.json"
        self.lifted = f"{self.folder}/{asked['system']}.lifted"  # the newest order that lifted the fence
        self.guard = prefix + "/opt/skerry/fence-guard"
        self.changed = False

    def alone(self) -> int:
        """Wait until nobody else fences or unfences the system on this host; until the descriptor is closed."""
        os.makedirs(self.folder, mode=0o755, exist_ok=True)
        descriptor = os.open(f"{self.folder}/{self.asked['system']}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor

    def standing(self) -> Optional[Dict[str, Any]]:
        return read(self.record)

    def newest(self, standing: Optional[Dict[str, Any]]) -> Tuple[int, int]:
        """Of the orders that this host has obeyed."""
        return max((order(said) for said in (standing, read(self.lifted)) if said is not None), default=(0, 0))

    def put(self) -> Dict[str, Any]:
        asked = self.asked
        self.write(self.guard, GUARD, 0o755)
        guarded = False
        for unit in asked["services"] + asked["databases"]:
            line = f"ExecStartPre=/bin/sh {self.guard} {self.record}"
            if "data_directory" in unit:
                line += " " + asked["prefix"] + unit["data_directory"]
            guarded |= self.write(self.drop_in(unit), f"[Service]\n{line}\n", 0o644)
        if guarded:
            systemctl("daemon-reload")
        before = self.standing()
        if before is None or (order(before), before["side"]) != (order(asked), asked["side"]):
            self.write(self.record, told(asked), 0o644)
        for service in reversed(asked["services"]):
            self.close(service)
        deadline = time.monotonic() + SECONDS_MAX
        services = {service["name"]: self.closed(service, deadline) for service in asked["services"]}
        guards = [unit["name"] for unit in asked["services"] + asked["databases"]]
        return {"fence": self.standing(), "services": services, "guarded": guards}

    def lift(self, standing: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        asked = self.asked
        before = read(self.lifted)
        if before is None or order(before) != order(asked):
            self.write(self.lifted, told(asked), 0o644)  # first: from here on no older order is obeyed
        removed = self.remove(self.record)
        for unit in asked["services"] + asked["databases"]:
            removed |= self.remove(self.drop_in(unit))
        if removed:
            systemctl("daemon-reload")
        for service in asked["services"]:
            name = service["name"] + ".service"
            if state(name)["LoadState"] == "masked":
                systemctl("unmask", name)
                self.changed = True
            if state(name)["UnitFileState"] != "enabled":
                systemctl("enable", name)
                self.changed = True
        return {"unfenced": read(self.lifted), "lifted": standing}

    def close(self, service: Dict[str, Any]) -> None:
        """Stop, disable, and mask where systemd can: not a unit file in the administrator's own folder."""
        name = service["name"] + ".service"
        found = state(name)
        if found["LoadState"] == "not-found":
            raise Refused(f"unit {name} does not exist on this host")
        if found["ActiveState"] not in ("inactive", "failed"):
            systemctl("stop", name)
            self.changed = True
        if found["UnitFileState"] == "enabled":
            systemctl("disable", name)
            self.changed = True
        own = os.path.join(self.units_folder, name)
        if found["LoadState"] != "masked" and not os.path.exists(own):
            systemctl("mask", name)
            self.changed = True

    def closed(self, service: Dict[str, Any], deadline: float) -> Dict[str, Any]:
        """What the host says once the unit is inactive and its port closed; Refused when that does not come."""
        name = service["name"] + ".service"
        while True:
            found = state(name)
            accepting = accepts(service["address"], service["port"])
            if found["ActiveState"] in ("inactive", "failed") and not accepting:
                return {
                    "active": found["ActiveState"],
                    "enabled": found["UnitFileState"] == "enabled",
                    "masked": found["LoadState"] == "masked",
                    "port": service["port"],
                    "port_open": False,
                }
            if time.monotonic() > deadline:
                port = f"port {service['port']} of {service['address']}"
                raise Refused(
                    f"{name} is {found['ActiveState']} and {port} {'accepts' if accepting else 'is closed'}:"
                    " the fence record stands, but this side may still serve"
                )
            time.sleep(0.05)

    def drop_in(self, unit: Dict[str, Any]) -> str:
        return f"{self.units_folder}/{unit['name']}.service.d/10-skerry-fence.conf"

    def write(self, path: str, text: str, mode: int) -> bool:
        """Whether it was another file before. Appears whole and durable."""
        try:
            with open(path) as stream:
                if stream.read() == text:
                    return False
        except FileNotFoundError:
            pass
        folder = os.path.dirname(path)
        os.makedirs(folder, mode=0o755, exist_ok=True)
        aside = f"{path}.skerry-{os.getpid()}"
        with open(aside, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.rename(aside, path)
        sync(folder)
        self.changed = True
        return True

    def remove(self, path: str) -> bool:
        try:
            os.unlink(path)
        except FileNotFoundError:
            return False
        sync(os.path.dirname(path))
        self.changed = True
        return True


def read(path: str) -> Optional[Dict[str, Any]]:
    try:
        with open(path) as stream:
            found: Dict[str, Any] = json.load(stream)
            return found
    except FileNotFoundError:
        return None


def told(asked: Dict[str, Any]) -> str:
    """An order as it is kept."""
    kept = {"number": asked["number"], "side": asked["side"], "at": asked["at"]}
    if asked.get("ticket"):
        kept["ticket"] = asked["ticket"]
    return json.dumps(kept, sort_keys=True) + "\n"


def sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def systemctl(*words: str) -> str:
    program = shutil.which("systemctl")
    if program is None:
        raise Refused("this host has no systemctl")
    done = subprocess.run([program, *words], capture_output=True)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise Refused(f"systemctl {' '.join(words)} ended with {done.returncode}: {said}")
    return done.stdout.decode(errors="replace")


def state(name: str) -> Dict[str, str]:
    told = systemctl("show", name, "--property=LoadState,ActiveState,UnitFileState")
    found = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    return {key: found.get(key, "") for key in ("LoadState", "ActiveState", "UnitFileState")}


def accepts(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
