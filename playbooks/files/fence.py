"""Fences one side of a system on its host, or lifts the fence. Sent to the host by fence.yml and unfence.yml.

Usage: python3 - REQUEST, a JSON object:
  do         fence | unfence
  prefix     put before every path
  system     whose fence
  number, side, at
  services   [{name, port, address}] in start order, of this host alone
  databases  [{name, data_directory}] of this host alone

It is one program and not ten tasks, so that nothing can start between two of them, and because clients wait meanwhile.
The order: guards, record, then stop; from the moment the record is on disk no guarded unit starts any more.
Prints one JSON object {changed, report}. Running it again changes nothing. Exit 3: a newer fence stands.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from typing import Any, Dict, Optional

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
    newer = fence.standing()
    if newer is not None and newer["number"] > asked["number"]:
        print(
            f"{asked['system']} is fenced by number {newer['number']}, which is newer than {asked['number']}",
            file=sys.stderr,
        )
        return 3
    try:
        report = fence.put() if asked["do"] == "fence" else fence.lift(newer)
    except Refused as error:
        print(str(error), file=sys.stderr)
        return 1
    print(json.dumps({"changed": fence.changed, "report": report}))
    return 0


class Refused(Exception):
    """The host did not do what it was told."""


class Fence:
    def __init__(self, asked: Dict[str, Any]) -> None:
        self.asked = asked
        prefix = asked["prefix"]
        self.units_folder = prefix + "/etc/systemd/system"
        self.record = f"{prefix}/etc/skerry/fence/{asked['system']}.json"
        self.guard = prefix + "/opt/skerry/fence-guard"
        self.changed = False

    def standing(self) -> Optional[Dict[str, Any]]:
        try:
            with open(self.record) as stream:
                found: Dict[str, Any] = json.load(stream)
                return found
        except FileNotFoundError:
            return None

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
        if before is None or (before["number"], before["side"]) != (asked["number"], asked["side"]):
            fence = {"number": asked["number"], "side": asked["side"], "at": asked["at"]}
            self.write(self.record, json.dumps(fence, sort_keys=True) + "\n", 0o644)
        for service in reversed(asked["services"]):
            self.close(service)
        deadline = time.monotonic() + SECONDS_MAX
        services = {service["name"]: self.closed(service, deadline) for service in asked["services"]}
        guards = [unit["name"] for unit in asked["services"] + asked["databases"]]
        return {"fence": self.standing(), "services": services, "guarded": guards}

    def lift(self, standing: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        asked = self.asked
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
        unfenced = {"number": asked["number"], "side": asked["side"], "at": asked["at"]}
        return {"unfenced": unfenced, "lifted": standing}

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
