"""Fences one side of a system on its host, or lifts the fence. Sent to the host by fence.yml and unfence.yml.

Usage: python3 - REQUEST, a JSON object:
  do         fence | unfence | confirm (a fence stands, and from now on by this order: none before it lifts it; one
             without a ticket only looks, and is judged by its number alone)
             | recover (a fence stands, and stays by this order; databases that it holds back are started behind it, so
             that what they hold can be carried to the side that takes over)
             | heed (only note that the order was obeyed: what starts services does so first)
             | look (what a person would ask: which boot of the host this is, and what may start in it)
             | guard (from now on units start only in a boot for which starts were permitted; in this one they are)
             | permit (units may start in this boot of the host, and what starts with the host is started)
             | unguard (units start again in whatever boot)
  prefix     put before every path
  system     whose fence
  number, side, at
  ticket     which of two orders with the same number is the newer one; 0 where nobody counts
  services   [{name, port, address}] in start order, of this host alone
  databases  [{name, data_directory}] of this host alone
  boot       for guard and permit: the boot that was seen before the number was asked for. In another one nothing is
             done: the side may have been given up while the host was down

It is one program and not ten tasks, so that nothing can start between two of them. Clients wait meanwhile: it imports
little, and asks systemd as seldom as it can. `systemctl enable` and `disable` read unit files anew by themselves.
The order: guards, record, then stop; from the moment the record is on disk no guarded unit starts any more.
Orders may come late: from a process that died, or was asleep, or through a network that was cut. The host remembers
the newest order that it obeyed, also once its fence is lifted, and obeys no older one; it looks and acts under a lock.
Whoever starts services (services.py) or promotes databases compares with the same files under the same lock.
A host that was dead while its side was given up has heard of no order. Where starts are guarded, it comes back with
no permit (permits lie below /run, which ends with the boot), and starts nothing until somebody says so who knows.
Prints one JSON object {changed, report}. Running it again changes nothing. Exit 3: a newer order was obeyed before.
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
NOBODY = {"number": 0}
IN_USE = ("active", "activating", "deactivating", "reloading")
BOOT_ID = "/proc/sys/kernel/random/boot_id"
# The file is there and locked: while the program runs that recovers a database, and not for a moment longer.
IS_RECOVERED = """recovered() {
    [ -e "$1" ] || return 1
    flock --nonblock --shared --conflict-exit-code 75 "$1" true
    [ $? = 75 ]
}"""
GUARD = f"""#!/bin/sh
# Refuses the start of a unit while its system is fenced. Usage: fence-guard RECORD [DATA_DIRECTORY]
# A database may start behind the fence as a standby: it takes no writes, and the new side can feed it. One whose writes
# are to be carried away is started by whoever lifts and puts fences here; nobody else can start it.
{IS_RECOVERED}
[ -e "$1" ] || exit 0
[ -n "$2" ] && [ -e "$2/standby.signal" ] && exit 0
name=${{1##*/}}
[ -n "$2" ] && recovered "${{1%/etc/skerry/fence/*}}/run/skerry/permits/${{name%.json}}.recover" && exit 0
echo "fenced by $1: another side holds the authority to write. Lift the fence with skerry, not by hand." >&2
exit 1
"""
STARTS_GUARD = f"""#!/bin/sh
# Refuses the start of a unit in a boot of its host for which nobody has permitted it. Usage:
# starts-guard PERMIT [DATA_DIRECTORY]. A database may start as a standby: it takes no writes; and behind a fence, where
# its writes are to be carried away.
{IS_RECOVERED}
[ -n "$2" ] && [ -e "$2/standby.signal" ] && exit 0
[ -n "$2" ] && recovered "$1.recover" && exit 0
read -r boot < {BOOT_ID}
[ -r "$1" ] && read -r permitted < "$1" && [ "${{permitted%% *}}" = "$boot" ] && exit 0
echo "this host has booted, and nobody has said yet that this side may still serve: see skerry starts" >&2
exit 1
"""
# For a site that is cut off from everybody who could be asked.
PERMIT_BY_HAND = f"""#!/bin/sh
# Usage: permit-starts SYSTEM WHO WHY. Permits the units of SYSTEM to start in this boot of this host, on a person's
# word that no other side has taken over. Two sides that serve lose writes: ask first, by telephone if need be.
set -eu
[ $# = 3 ] && [ -n "$2" ] && [ -n "$3" ] || {{ echo "usage: permit-starts SYSTEM WHO WHY" >&2; exit 2; }}
here=PREFIX/etc/skerry
[ -e "$here/starts/$1.json" ] || {{ echo "permit-starts: starts of $1 are not guarded on this host" >&2; exit 1; }}
[ ! -e "$here/fence/$1.json" ] || {{ echo "permit-starts: $1 is fenced here: another side may write" >&2; exit 1; }}
echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $2: $3" >> "$here/starts/$1.by-hand"
sync "$here/starts/$1.by-hand"
mkdir -p PREFIX/run/skerry/permits
echo "$(cat {BOOT_ID}) by $2" > "PREFIX/run/skerry/permits/$1"
echo "$1 may start on this host until its next boot; now start its units with systemctl start"
"""


def main() -> int:
    asked = json.loads(sys.argv[1])
    fence = Fence(asked)
    alone = fence.alone()  # held until this process ends
    standing = fence.standing()
    if asked["do"] in ("look", "unguard"):
        report = Starts(fence).looked(standing) if asked["do"] == "look" else Starts(fence).unguard()
        print(json.dumps({"changed": fence.changed, "report": report}))
        return 0
    newest = fence.newest(standing)
    uncounted = asked["do"] in ("confirm", "guard") and not asked.get("ticket")
    if newest[0] > asked["number"] or (newest > order(asked) and not uncounted):
        name, what = asked["system"], "is fenced" if standing is not None else "was unfenced or started"
        print(
            f"{name} {what} by number {newest[0]}, which is newer than {asked['number']}"
            if newest[0] > asked["number"]
            else f"{name} {what} by number {newest[0]} after this order was given: it came too late",
            file=sys.stderr,
        )
        return 3
    try:
        if asked["do"] == "heed":
            report = fence.heed()
        elif asked["do"] == "confirm":
            report = fence.confirm(standing)
        elif asked["do"] == "recover":
            report = fence.recover(standing)
        elif asked["do"] in ("guard", "permit"):
            report = Starts(fence).obey(standing)
        else:
            report = fence.put() if asked["do"] == "fence" else fence.lift(standing)
    except Refused as error:
        print(str(error), file=sys.stderr)
        return 1
    print(json.dumps({"changed": fence.changed, "report": report}))
    os.close(alone)
    return 0


def order(said: dict[str, Any]) -> tuple[int, int]:
    """Newer orders compare greater."""
    return int(said["number"]), int(said.get("ticket", 0))


class Refused(Exception):
    """The host did not do what it was told."""


class Fence:
    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked
        prefix = asked["prefix"]
        self.units_folder = prefix + "/etc/systemd/system"
        self.folder = prefix + "/etc/skerry/fence"
        self.record = f"{self.folder}/{asked['system']}.json"
        self.lifted = f"{self.folder}/{asked['system']}.lifted"  # the newest order that lifted the fence
        self.started = f"{self.folder}/{asked['system']}.started"  # the newest order that started services
        self.guard = prefix + "/opt/skerry/fence-guard"
        self.changed = False

    def alone(self) -> int:
        """Wait until nobody else fences or unfences the system on this host; until the descriptor is closed."""
        os.makedirs(self.folder, mode=0o755, exist_ok=True)
        descriptor = os.open(f"{self.folder}/{self.asked['system']}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        # Guards run as their units' users, promotions as that of the database: whatever the umask is, they may look.
        for place in (os.path.dirname(self.folder), self.folder, descriptor):
            mode = os.stat(place).st_mode & 0o7777
            wanted = mode | (0o044 if place == descriptor else 0o055)
            if mode != wanted:
                os.chmod(place, wanted)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor

    def standing(self) -> dict[str, Any] | None:
        return read(self.record)

    def newest(self, standing: dict[str, Any] | None) -> tuple[int, int]:
        """Of the orders that this host has obeyed."""
        obeyed = (standing, read(self.lifted), read(self.started))
        return max((order(said) for said in obeyed if said is not None), default=(0, 0))

    def heed(self) -> dict[str, Any]:
        before = read(self.started)
        if before is None or order(before) != order(self.asked):
            self.write(self.started, told(self.asked), 0o644)
        Starts(self).permit()
        return {"heeded": read(self.started)}

    def confirm(self, standing: dict[str, Any] | None) -> dict[str, Any]:
        if standing is None:
            raise Refused(f"no fence of {self.asked['system']} stands there")
        if order(standing) < order(self.asked):
            self.write(self.record, told(self.asked), 0o644)
        return {"fence": self.standing()}

    def recover(self, standing: dict[str, Any] | None) -> dict[str, Any]:
        confirmed = self.confirm(standing)
        self.write(self.guard, GUARD, 0o755)  # hosts keep the one of the release that fenced them
        return {**confirmed, "started": Starts(self).recover()}

    def put(self) -> dict[str, Any]:
        asked = self.asked
        self.write(self.guard, GUARD, 0o755)
        guarded = False
        for unit in asked["services"] + asked["databases"]:
            line = f"ExecStartPre=/bin/sh {self.guard} {self.record}"
            if "data_directory" in unit:
                line += " " + asked["prefix"] + unit["data_directory"]
            guarded |= self.write(self.drop_in(unit), f"[Service]\n{line}\n", 0o644)
        if guarded and not self.disable_at_once():
            systemctl("daemon-reload")
        before = self.standing()
        if before is None or (order(before), before["side"]) != (order(asked), asked["side"]):
            self.write(self.record, told(asked), 0o644)
        Starts(self).withdraw()
        services = self.closed()
        guards = [unit["name"] for unit in asked["services"] + asked["databases"]]
        return {"fence": self.standing(), "services": services, "guarded": guards}

    def lift(self, standing: dict[str, Any] | None) -> dict[str, Any]:
        asked = self.asked
        before = read(self.lifted)
        if before is None or order(before) != order(asked):
            self.write(self.lifted, told(asked), 0o644)  # first: from here on no older order is obeyed
        Starts(self).permit()  # this side may serve, in this boot of its host
        removed = self.remove(self.record)
        for unit in asked["services"] + asked["databases"]:
            removed |= self.remove(self.drop_in(unit))
        names = self.names()
        # As `systemctl unmask` does, but for reading unit files anew: `enable` does that as well.
        masked = [name for name in names if self.is_masked(name) and self.remove(os.path.join(self.units_folder, name))]
        if names and not removed and not masked:
            names = [name for name, found in states(names).items() if found["UnitFileState"] != "enabled"]
        if names:
            systemctl("enable", *names)
        elif removed:
            systemctl("daemon-reload")
        self.changed |= bool(names or masked)
        return {"unfenced": read(self.lifted), "lifted": standing}

    def names(self) -> list[str]:
        """Units of the services, the last started first."""
        return [service["name"] + ".service" for service in reversed(self.asked["services"])]

    def is_masked(self, name: str) -> bool:
        return os.path.realpath(os.path.join(self.units_folder, name)) == "/dev/null"

    def disable_at_once(self) -> bool:
        """Disable without asking what is enabled; False when the host did not: then it is asked, one by one."""
        names = [name for name in self.names() if not self.is_masked(name)]
        if not names:
            return False
        try:
            systemctl("disable", *names)
        except Refused:
            return False
        return True

    def close(self, found: dict[str, dict[str, str]]) -> bool:
        """Stop, disable, and mask where systemd can: not a unit file in the administrator's own folder. Whether any."""
        closed = False
        for name, state in found.items():
            if state["LoadState"] == "not-found":
                raise Refused(f"unit {name} does not exist on this host")
            own = os.path.join(self.units_folder, name)
            words = {
                "stop": state["ActiveState"] in IN_USE,
                "disable": state["UnitFileState"] == "enabled",
                "mask": state["LoadState"] != "masked" and not os.path.exists(own),
            }
            for word in [word for word, needed in words.items() if needed]:
                systemctl(word, name)
                closed = self.changed = True
        return closed

    def closed(self) -> dict[str, dict[str, Any]]:
        """What the host says once units are inactive and their ports closed; Refused when that does not come."""
        names, deadline = self.names(), time.monotonic() + SECONDS_MAX
        found = states(names)
        if self.close(found):
            found = states(names)
        while True:
            serving = []
            report: dict[str, dict[str, Any]] = {}
            for service in self.asked["services"]:
                state = found[service["name"] + ".service"]
                accepting = accepts(service["address"], service["port"])
                if state["ActiveState"] not in ("inactive", "failed") or accepting:
                    port = f"port {service['port']} of {service['address']} {'accepts' if accepting else 'is closed'}"
                    serving.append(f"{service['name']}.service is {state['ActiveState']} and {port}")
                report[service["name"]] = {
                    "active": state["ActiveState"],
                    "enabled": state["UnitFileState"] == "enabled",
                    "masked": state["LoadState"] == "masked",
                    "port": service["port"],
                    "port_open": accepting,
                }
            if not serving:
                return report
            if time.monotonic() > deadline:
                raise Refused("; ".join(serving) + ": the fence record stands, but this side may still serve")
            time.sleep(0.05)
            found = states(names)

    def drop_in(self, unit: dict[str, Any]) -> str:
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


class Starts:
    """In which boots of this host the units of a system may start."""

    def __init__(self, fence: Fence) -> None:
        self.fence = fence
        prefix, system = fence.asked["prefix"], fence.asked["system"]
        self.units = fence.asked["services"] + fence.asked["databases"]
        self.guarded = f"{prefix}/etc/skerry/starts/{system}.json"  # it is there where starts are guarded
        self.by_hand = f"{prefix}/etc/skerry/starts/{system}.by-hand"
        self.guard = prefix + "/opt/skerry/starts-guard"
        self.permitter = prefix + "/opt/skerry/permit-starts"
        self.permits = prefix + "/run/skerry/permits"
        self.permit_of_boot = f"{self.permits}/{system}"

    def looked(self, standing: dict[str, Any] | None) -> dict[str, Any]:
        names = [unit["name"] + ".service" for unit in self.units]
        let = (read(self.fence.lifted), read(self.fence.started), NOBODY)
        running = sorted(name for name, found in states(names).items() if found["ActiveState"] in IN_USE)
        return {
            "boot": self.boot(),
            "guarded": os.path.exists(self.guarded) and all(os.path.exists(self.drop_in(unit)) for unit in self.units),
            "permitted": self.is_permitted(),
            "running": [name.removesuffix(".service") for name in running],
            "fence": standing,
            "let_by": max(order(said)[0] for said in let if said),
            "by_hand": lines(self.by_hand),
        }

    def boot(self) -> str:
        """The kernel's name of this boot and, for hosts that share a kernel, a word that ends with it."""
        path = os.path.dirname(self.permits) + "/boot"
        kernel = lines(BOOT_ID)[0]
        known = lines(path)
        if not known or known[0].split()[0] != kernel:
            self.write_for_boot(path, f"{kernel} {os.urandom(8).hex()}")
            known = lines(path)
        return known[0]

    def is_permitted(self) -> bool:
        return [line.split()[0] for line in lines(self.permit_of_boot)] == [lines(BOOT_ID)[0]]

    def obey(self, standing: dict[str, Any] | None) -> dict[str, Any]:
        asked = self.fence.asked
        if standing is not None:
            raise Refused(f"a fence of {asked['system']} stands there: no start is permitted behind it")
        if asked["boot"] != self.boot():
            raise Refused("this host has booted since it was looked at: nothing was permitted")
        if asked["do"] == "guard":
            self.permit(at_once=True)
            self.put()
            return {"boot": asked["boot"], "started": []}
        self.fence.heed()
        self.permit(at_once=True)
        started = self.start()
        return {"boot": asked["boot"], "started": started}

    def put(self) -> None:
        """Guards before every unit. The permit stands already, so no start that may be is refused in between."""
        write = self.fence.write
        write(self.guard, STARTS_GUARD, 0o755)
        write(self.permitter, PERMIT_BY_HAND.replace("PREFIX", self.fence.asked["prefix"]), 0o755)
        put = False
        for unit in self.units:
            line = f"ExecStartPre=/bin/sh {self.guard} {self.permit_of_boot}"
            if "data_directory" in unit:
                line += " " + self.fence.asked["prefix"] + unit["data_directory"]
            put |= write(self.drop_in(unit), f"[Service]\n{line}\n", 0o644)
        if put:
            systemctl("daemon-reload")
        write(self.guarded, told(self.fence.asked), 0o644)

    def unguard(self) -> dict[str, Any]:
        removed = [self.fence.remove(self.drop_in(unit)) for unit in self.units]
        if any(removed):
            systemctl("daemon-reload")
        self.fence.remove(self.guarded)
        return {"guarded": False}

    def permit(self, *, at_once: bool = False) -> None:
        """For this boot alone. `at_once`: also where nothing guards the starts yet."""
        if at_once or os.path.exists(self.guarded):
            self.write_for_boot(self.permit_of_boot, self.boot())

    def withdraw(self) -> None:
        try:
            os.unlink(self.permit_of_boot)
        except FileNotFoundError:
            pass

    def start(self) -> list[str]:
        """What would have started with the host: databases, then the services that are enabled."""
        names = [service["name"] + ".service" for service in self.fence.asked["services"]]
        enabled = [name for name, found in states(names).items() if found["UnitFileState"] == "enabled"]
        return self.start_units(self.databases() + enabled)

    def recover(self) -> list[str]:
        """Databases alone. While the mark is locked their guards let them start; the lock ends with this program."""
        if os.path.exists(self.guarded):
            self.fence.write(self.guard, STARTS_GUARD, 0o755)
        mark = self.permit_of_boot + ".recover"
        self.write_for_boot(mark, "databases start to be carried away from")
        with open(mark) as stream:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
            try:
                return self.start_units(self.databases())
            finally:
                os.unlink(mark)

    def databases(self) -> list[str]:
        return [database["name"] + ".service" for database in self.fence.asked["databases"]]

    def start_units(self, units: list[str]) -> list[str]:
        idle = [name for name, found in states(units).items() if found["ActiveState"] not in IN_USE]
        if idle:
            try:
                systemctl("reset-failed", *idle)  # refused at the boot, perhaps more often than systemd forgives
            except Refused:
                pass  # what has not failed, and is needed by nobody, systemd has forgotten
            systemctl("start", *idle)
            self.fence.changed = True
        return [name.removesuffix(".service") for name in idle]

    def drop_in(self, unit: dict[str, Any]) -> str:
        return f"{self.fence.units_folder}/{unit['name']}.service.d/11-skerry-starts.conf"

    def write_for_boot(self, path: str, text: str) -> None:
        """Appears whole. It need not outlive the boot, so it is not waited for until it is on a disk."""
        for folder in (os.path.dirname(self.permits), self.permits):
            os.makedirs(folder, mode=0o755, exist_ok=True)
            wanted = os.stat(folder).st_mode & 0o7777 | 0o055
            os.chmod(folder, wanted)  # guards run as their units' users
        aside = f"{path}.skerry-{os.getpid()}"
        with open(aside, "w") as stream:
            stream.write(text + "\n")
            os.fchmod(stream.fileno(), 0o644)
        os.rename(aside, path)


def lines(path: str) -> list[str]:
    """Of a text that may not be there."""
    try:
        with open(path) as stream:
            return stream.read().splitlines()
    except FileNotFoundError:
        return []


def read(path: str) -> dict[str, Any] | None:
    try:
        with open(path) as stream:
            found: dict[str, Any] = json.load(stream)
            return found
    except FileNotFoundError:
        return None


def told(asked: dict[str, Any]) -> str:
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
    """What it said; Refused where it ended with another code than 0."""
    said, told = os.pipe()
    streams = [(os.POSIX_SPAWN_DUP2, told, 1), (os.POSIX_SPAWN_DUP2, told, 2)]
    try:
        process = os.posix_spawnp("systemctl", ["systemctl", *words], os.environ, file_actions=streams)
    except FileNotFoundError:
        raise Refused("this host has no systemctl") from None
    finally:
        os.close(told)
    with os.fdopen(said, "rb") as stream:
        text = stream.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code:
        raise Refused(f"systemctl {' '.join(words)} ended with {code}: {text.strip()}")
    return text


def states(names: list[str]) -> dict[str, dict[str, str]]:
    """LoadState, ActiveState and UnitFileState of each unit, by its name, asked all at once."""
    if not names:
        return {}
    wanted = ("LoadState", "ActiveState", "UnitFileState")
    units: list[dict[str, str]] = [{}]
    for line in systemctl("show", *names, "--property=" + ",".join(wanted)).splitlines():
        key, _, value = line.partition("=")
        if key not in wanted:
            continue
        if key in units[-1]:  # a property that comes again is the next unit's, which are told in the order asked for
            units.append({})
        units[-1][key] = value
    if len(units) != len(names):
        raise Refused(f"systemctl told of {len(units)} units instead of {', '.join(names)}")
    return {name: {key: unit.get(key, "") for key in wanted} for name, unit in zip(names, units)}


def accepts(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
