"""A bubble on a host: a system's held data, cloned, and its services, in namespaces without a way out.

The parts of this folder are joined into one file, sent to the host and run there by its own Python (3.9 or newer) as
root: standard library, util-linux and iproute2, for machines QEMU. Requests: open, keeper, attempt, start, stop, close,
list; boot, machine, picture, greeting.

Within a bubble there are: the host's files, all read-only; clones of the system's held data at their own paths; its
addresses, on an interface that leads nowhere; processes of its own. It ends with its first process, at the latest when
its time is over, whatever becomes of those who opened it, and soon after nobody renews its lease; then a process on
the host erases what it wrote.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from orchestrator.hosts.host_programs.bubble.attempts import attempt_all
from orchestrator.hosts.host_programs.bubble.clones import clone, open_cluster
from orchestrator.hosts.host_programs.bubble.machines import boot, greeting, look, picture
from orchestrator.hosts.host_programs.bubble.namespaces import (
    Lease,
    Refused,
    await_ready,
    fork_keeper,
    fork_reaper,
    keep,
    within,
)
from orchestrator.hosts.host_programs.bubble.units import await_port, read_unit, start_unit, stop_units

GONE_SECONDS_MAX = 20.0


def say(value: Any) -> None:
    sys.stdout.write("result " + json.dumps(value) + "\n")
    sys.stdout.flush()


def open_bubble(request: dict[str, Any]) -> dict[str, Any]:
    folder = os.path.join(request["root"], request["bubble"])
    if is_sole_user():
        raise Refused(
            "its root is the only user that there is, in a user namespace that no other command enters: no service can "
            "be started as its own user in a bubble. A lab that an ordinary user made is so; let root make one"
        )
    swept = sweep(request["root"])
    if alive := [name for name in bubbles(request["root"]) if name not in swept]:
        raise Refused("a bubble is here already: %s" % ", ".join(alive))
    units = {name: read_unit(name) for name in request["units"]}
    os.makedirs(folder, mode=0o700)
    try:
        mounts = [clone(dataset, folder) for dataset in request["datasets"]]
        sockets = listening_sockets()
        seconds, addresses = float(request["seconds_max"]), request["addresses"]
        with open(os.path.join(folder, "lease"), "w", encoding="ascii") as stream:
            lease = Lease(stream.name, float(request["lease_seconds"]))
        keeper = fork_keeper(folder, lambda: keep(folder, mounts, addresses, sockets, seconds, lease))
        begun = begun_at(keeper)
        reaper = fork_reaper(lambda: begun_at(keeper) == begun != "", folder)
        note = {
            "keeper": keeper, "begun": begun, "reaper": reaper, "reaper_begun": begun_at(reaper),
            "units": units, "sockets": sockets, "addresses": addresses,
            "own_places": [place for one in mounts for place in places_of(one)],
        }  # fmt: skip
        with open(os.path.join(folder, "note.json"), "w", encoding="utf-8") as stream:
            json.dump(note, stream)
        await_ready(folder, keeper)
    except (Refused, OSError):
        close_bubble(request)
        raise
    clones = [{key: one[key] for key in ("dataset", "how", "seconds")} for one in mounts]
    return {"bubble": request["bubble"], "keeper": keeper, "clones": clones, "swept": swept}


def is_sole_user() -> bool:
    """Whether this is a user namespace in which one user is known."""
    with open("/proc/self/uid_map", encoding="ascii") as stream:
        return [line.split()[2] for line in stream] == ["1"]


def places_of(one: dict[str, Any]) -> list[str]:
    """Where the bubble may write: a clone, and wherever it is shown."""
    small = [os.path.dirname(one["upper"])] if one["bytes_max"] else []
    return [one["merged"], *small, *(at for _, at in one["places"])]


def bubbles(root: str) -> list[str]:
    return sorted(os.listdir(root)) if os.path.isdir(root) else []


def list_bubbles(request: dict[str, Any]) -> dict[str, Any]:
    return {"bubbles": bubbles(request["root"])}


def note_of(root: str, bubble: str) -> dict[str, Any]:
    try:
        with open(os.path.join(root, bubble, "note.json"), encoding="utf-8") as stream:
            found: dict[str, Any] = json.load(stream)
    except (OSError, ValueError):
        return {}
    return found


def begun_at(process: int) -> str:
    """Tells a process from a later one of the same number."""
    try:
        with open("/proc/%d/stat" % process, encoding="ascii", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def keeper_of(root: str, bubble: str) -> int:
    """The bubble's first process; 0 where it has ended."""
    note = note_of(root, bubble)
    return note["keeper"] if note and begun_at(note["keeper"]) == note["begun"] != "" else 0


def sweep(root: str) -> list[str]:
    """Take away what bubbles left that have ended."""
    ended = [name for name in bubbles(root) if not keeper_of(root, name)]
    for name in ended:
        erase(os.path.join(root, name))
    return ended


def erase(folder: str) -> None:
    """All of it is gone when this returns; the bubble's own process may be erasing it at the same time."""
    while os.path.lexists(folder):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)


def listening_sockets() -> list[str]:
    """Names in the file system by which processes of this host are reached."""
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as stream:
        paths = [line.split()[7] for line in stream.readlines()[1:] if len(line.split()) > 7]
    return sorted({path for path in paths if path.startswith("/")})


def entered(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    keeper = keeper_of(request["root"], request["bubble"])
    if not keeper:
        raise Refused("there is no bubble %s" % request["bubble"])
    return keeper, note_of(request["root"], request["bubble"])


def attempt(request: dict[str, Any]) -> int:
    keeper, note = entered(request)
    targets = [one for one in request["targets"] if one["address"] not in note["addresses"]]
    return within(keeper, lambda: attempt_all(targets, note["sockets"], note["own_places"]), say)


def start(request: dict[str, Any]) -> int:
    keeper, note = entered(request)

    def do() -> dict[str, Any]:
        for cluster in request["clusters"]:
            open_cluster(cluster)
        started = []
        for service in request["services"]:
            name, port = service["name"], service["port"]
            begun = start_unit(name, note["units"][name])
            waited = await_port(name, service["address"], port, begun["pid"]) if begun["pid"] else 0.0
            started.append({**begun, "port": port, "seconds": waited})
        return {"started": started}

    return within(keeper, do, say)


def stop(request: dict[str, Any]) -> int:
    keeper, _ = entered(request)
    return within(keeper, lambda: {"stopped": stop_units(request["units"])}, say)


def in_machines(request: dict[str, Any]) -> int:
    """A request about machines, within."""
    keeper, _ = entered(request)
    asked: dict[str, Callable[[], dict[str, Any]]] = {
        "boot": lambda: boot(request["machine"]),
        "machine": lambda: look(request["name"]),
        "picture": lambda: picture(request["name"]),
        "greeting": lambda: greeting(request["port"]),
    }
    return within(keeper, asked[request["do"]], say)


def find_keeper(request: dict[str, Any]) -> dict[str, Any]:
    return {"keeper": entered(request)[0]}


def close_bubble(request: dict[str, Any]) -> dict[str, Any]:
    """End it and take away what it wrote; then look for what is left: processes, mounts, files."""
    root, bubble = request["root"], request["bubble"]
    folder = os.path.join(root, bubble)
    keeper = keeper_of(root, bubble)
    space = namespace_of(keeper) if keeper else ""
    if keeper:
        os.kill(keeper, signal.SIGKILL)
        deadline = time.monotonic() + GONE_SECONDS_MAX
        while processes_in(space) and time.monotonic() < deadline:
            time.sleep(0.02)
    note = note_of(root, bubble)
    shutil.rmtree(folder, ignore_errors=True)
    reaper = [note["reaper"]] if note and ends_late(note) else []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as stream:
        mounts = [line.split()[4] for line in stream if folder in line]
    left = {
        "processes": (processes_in(space) if space else []) + reaper,
        "mounts": mounts,
        "files": [folder] if os.path.lexists(folder) else [],
    }
    return {"closed": bubble, "was_open": bool(keeper), "left": left}


def lives(note: dict[str, Any]) -> bool:
    begun: str = note["reaper_begun"]
    return begun_at(note["reaper"]) == begun != ""


def ends_late(note: dict[str, Any]) -> bool:
    """Whether the reaper is still there though nothing is left to erase; it looks several times a second."""
    deadline = time.monotonic() + GONE_SECONDS_MAX
    while lives(note) and time.monotonic() < deadline:
        time.sleep(0.02)
    return lives(note)


def namespace_of(process: int | str) -> str:
    try:
        return os.readlink("/proc/%s/ns/pid" % process)
    except OSError:
        return ""


def processes_in(space: str) -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and space and namespace_of(name) == space]


def main() -> None:
    request = json.loads(sys.argv[1])
    whole = {"open": open_bubble, "close": close_bubble, "list": list_bubbles, "keeper": find_keeper}
    entering = {"attempt": attempt, "start": start, "stop": stop}
    try:
        if request["do"] in whole:
            say(whole[request["do"]](request))
        else:
            entering.get(request["do"], in_machines)(request)
    except Refused as refused:
        say({"failed": str(refused)})
    except OSError as error:
        say({"failed": "%s: %s" % (error.filename or "", error.strerror)})


if __name__ == "__main__":
    main()
