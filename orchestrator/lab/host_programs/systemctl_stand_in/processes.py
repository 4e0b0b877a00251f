"""Units as processes: what is remembered of those that were started, and who belongs to them."""

from __future__ import annotations

import os

from orchestrator.lab.host_programs.systemctl_stand_in.unit_files import PREFIX

STATES = f"{PREFIX}/run/systemd/lab-units"


def stat_of(pid: int | str) -> tuple[str, int] | None:
    """(start time in ticks, parent) of a process that lives; None for zombies and the dead."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else (fields[19], int(fields[1]))


def remember(unit: str, *words: str) -> None:
    os.makedirs(STATES, exist_ok=True)
    with open(f"{STATES}/{unit}.new", "w", encoding="utf-8") as stream:
        stream.write(" ".join(words))
    os.rename(f"{STATES}/{unit}.new", f"{STATES}/{unit}")


def recall(unit: str) -> list[str]:
    """["running", pid, ticks, invocation], ["exited"], ["failed", code] or []."""
    try:
        with open(f"{STATES}/{unit}", encoding="utf-8") as stream:
            return stream.read().split()
    except OSError:
        return []


def forget(unit: str) -> None:
    if os.path.lexists(f"{STATES}/{unit}"):
        os.unlink(f"{STATES}/{unit}")


def main_pid(unit: str) -> int:
    state = recall(unit)
    if state[:1] != ["running"]:
        return 0
    found = stat_of(state[1])
    return int(state[1]) if found and found[0] == state[2] else 0


def active_state(unit: str) -> str:
    state = recall(unit)
    if not state:
        return "inactive"
    if state[0] == "running":
        return "active" if main_pid(unit) else "failed"
    return "active" if state[0] == "exited" else "failed"


def members(unit: str) -> list[int]:
    """Every process of the unit: children of its main process, and whoever carries its invocation."""
    state = recall(unit)
    if state[:1] != ["running"]:
        return []
    main, marker = main_pid(unit), f"INVOCATION_ID={state[3]}\0".encode()
    parents = {}
    carriers = {main} if main else set()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            found = stat_of(entry)
            if found:
                parents[int(entry)] = found[1]
                try:
                    with open(f"/proc/{entry}/environ", "rb") as stream:
                        if marker in stream.read():
                            carriers.add(int(entry))
                except OSError:
                    continue
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in carriers} - carriers
        carriers |= children
        grown = bool(children)
    return sorted(carriers)


def send(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
