"""What systemctl changes: units start and stop, are enabled and masked, and start with their host."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from typing import IO

from orchestrator.lab.host_programs.systemctl_stand_in.exec_lines import LOGS, conditions_hold, program_of, run
from orchestrator.lab.host_programs.systemctl_stand_in.processes import (
    STATES,
    active_state,
    forget,
    main_pid,
    members,
    recall,
    remember,
    send,
    stat_of,
)
from orchestrator.lab.host_programs.systemctl_stand_in.unit_files import (
    ETC_UNITS,
    PREFIX,
    Settings,
    UnitError,
    is_masked,
    last,
    load,
    load_or_nothing,
    on_this_host,
    seconds_of,
    unit_path,
    wants_links,
)

SIGKILL = 9
EARLY_DEATH_SECONDS = 0.06  # a service that dies within this time after its start has failed to start


def start(unit: str, *, at_boot: bool = False, seen: frozenset[str] = frozenset()) -> None:
    if unit in seen or active_state(unit) == "active":
        return
    try:
        settings = load(unit)
    except UnitError as error:
        raise UnitError(f"Failed to start {unit}: {error}", error.code) from None
    for key in ("Requires", "BindsTo", "Wants"):
        for needed in " ".join(settings.get(key, [])).split():
            if needed.endswith(".service"):
                try:
                    start(needed, at_boot=at_boot, seen=seen | {unit})
                except UnitError:
                    if key != "Wants":
                        raise UnitError(f"A dependency job for {unit} failed.") from None
    if not conditions_hold(settings):
        return
    with alone_with(unit):
        if active_state(unit) == "active":  # another start came first and has ended well
            return
        # A former life may have left processes: they would hold the port or the data.
        send(members(unit), SIGKILL)
        forget(unit)
        invocation = os.urandom(16).hex()
        # Written before the first process: should this program be killed now, its processes are still found.
        remember(unit, "running", "0", "0", invocation)
        try:
            launch(unit, settings, invocation, at_boot=at_boot)
        except UnitError as error:
            send(members(unit), SIGKILL)
            remember(unit, "failed", "1")
            raise UnitError(f"Job for {unit} failed: {error}\nSee {LOGS}/{unit}.log for details.") from None


def alone_with(unit: str) -> IO[str]:
    """One job at a time for a unit, as under systemd: a second start waits for the first and kills nothing of it.

    The lock is held while what this gives is open. It is of this process alone: the services that it forks do not
    inherit it, and it ends with the process.
    """
    os.makedirs(STATES, exist_ok=True)
    job = open(f"{STATES}/.{unit}.job", "w", encoding="utf-8")  # noqa: SIM115 - whoever asked closes it
    fcntl.lockf(job, fcntl.LOCK_EX)
    return job


def launch(unit: str, settings: Settings, invocation: str, *, at_boot: bool) -> None:
    for line in settings.get("ExecStartPre", []):
        must_pass(unit, line, run(settings, unit, line, invocation, wait=True))
    kind = last(settings, "Type", "simple")
    if kind == "oneshot":
        for line in settings.get("ExecStart", []):
            must_pass(unit, line, run(settings, unit, line, invocation, wait=True))
        if last(settings, "RemainAfterExit", "no") in ("yes", "true", "1", "on"):
            remember(unit, "exited")
        else:
            forget(unit)
        return
    if "ExecStart" not in settings:
        raise UnitError("it has no ExecStart=")
    line = settings["ExecStart"][-1]
    if kind == "forking":
        must_pass(unit, line, run(settings, unit, line, invocation, wait=True))
        pid = await_pid_file(settings)
    else:
        pid = run(settings, unit, line, invocation, wait=False)
    found = stat_of(pid)
    if found:
        remember(unit, "running", str(pid), found[0], invocation)
    if not at_boot and kind != "forking":
        await_early_death(line, pid)
    for after in settings.get("ExecStartPost", []):
        must_pass(unit, after, run(settings, unit, after, invocation, wait=True))


def must_pass(unit: str, line: str, code: int) -> None:
    if code:
        raise UnitError(f"{program_of(line)} of {unit} ended with {code}")


def await_pid_file(settings: Settings) -> int:
    path = on_this_host(last(settings, "PIDFile"))
    deadline = time.monotonic() + seconds_of(last(settings, "TimeoutStartSec"), 10.0)
    while time.monotonic() < deadline:
        try:
            with open(path, encoding="utf-8") as stream:
                return int(stream.read().split()[0])
        except (OSError, ValueError, IndexError):
            time.sleep(0.02)
    raise UnitError(f"no pid appeared in {path or 'PIDFile='}")


def await_early_death(line: str, pid: int) -> None:
    deadline = time.monotonic() + EARLY_DEATH_SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            raise UnitError(f"{program_of(line)} ended with {os.waitstatus_to_exitcode(status)}")
        time.sleep(0.01)


def stop(unit: str) -> None:
    if unit_path(unit) is None and not recall(unit):
        raise UnitError(f"Failed to stop {unit}: Unit {unit} not loaded.", 5)
    with alone_with(unit):
        end(unit)


def end(unit: str) -> None:
    """Stop what the unit runs; the caller is alone with it."""
    settings, state = load_or_nothing(unit), recall(unit)
    main = main_pid(unit)
    if main or state[:1] == ["exited"]:
        for line in settings.get("ExecStop", []):
            run(settings, unit, line, state[3] if main else "none", wait=True)
    mode = last(settings, "KillMode", "control-group")
    group = members(unit)
    first = [main] if mode in ("process", "mixed") else group
    import signal  # it takes as long as all the rest of this program

    number = getattr(signal, last(settings, "KillSignal", "SIGTERM"), signal.SIGTERM)
    send([pid for pid in first if pid], number)
    # A stopped process gets the signal only when it goes on.
    send([pid for pid in first if pid], signal.SIGCONT)
    deadline = time.monotonic() + seconds_of(last(settings, "TimeoutStopSec"), 30.0)
    watched = [pid for pid in first if pid]
    while any(stat_of(pid) for pid in watched) and time.monotonic() < deadline:
        time.sleep(0.005)
    if mode != "process":
        while left := members(unit):  # one that is killed may just have begun another
            send(left, SIGKILL)
            time.sleep(0.005)
    forget(unit)


def restart(unit: str) -> None:
    load(unit)
    if recall(unit):
        stop(unit)
    start(unit)


def reload(unit: str, *, or_restart: bool) -> None:
    settings = load(unit)
    if "ExecReload" in settings and main_pid(unit):
        for line in settings["ExecReload"]:
            must_pass(unit, line, run(settings, unit, line, recall(unit)[3], wait=True))
    elif or_restart:
        restart(unit)
    else:
        raise UnitError(f"Failed to reload {unit}: Job type reload is not applicable for unit {unit}.")


def enable(unit: str) -> None:
    path = unit_path(unit)
    if path is None:
        raise UnitError(f"Failed to enable unit: Unit file {unit} does not exist.")
    if is_masked(unit):
        raise UnitError(f"Failed to enable unit: Unit file {ETC_UNITS}/{unit} is masked.")
    for link in wants_links(unit):
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if not os.path.lexists(link):
            os.symlink(path, link)


def disable(unit: str) -> None:
    if unit_path(unit) is None:
        raise UnitError(f"Failed to disable unit: Unit file {unit} does not exist.")
    for folder in os.listdir(ETC_UNITS) if os.path.isdir(ETC_UNITS) else []:
        link = f"{ETC_UNITS}/{folder}/{unit}"
        if folder.endswith((".wants", ".requires")) and os.path.lexists(link):
            os.unlink(link)


def reenable(unit: str) -> None:
    disable(unit)
    enable(unit)


def mask(unit: str) -> None:
    path = f"{ETC_UNITS}/{unit}"
    if is_masked(unit):
        return
    if os.path.lexists(path):
        raise UnitError(f"Failed to mask unit: File {path} already exists.")
    os.makedirs(ETC_UNITS, exist_ok=True)
    os.symlink("/dev/null", path)


def unmask(unit: str) -> None:
    path = f"{ETC_UNITS}/{unit}"
    if os.path.islink(path) and os.readlink(path) == "/dev/null":
        os.unlink(path)


def boot() -> None:
    """Start what is enabled; a unit that fails does not keep the others from starting."""
    if PREFIX:
        import shutil  # what only asks does not wait for it

        shutil.rmtree(f"{PREFIX}/run/skerry", ignore_errors=True)  # here /run is a folder like others
    enabled = set()
    for folder in sorted(os.listdir(ETC_UNITS)) if os.path.isdir(ETC_UNITS) else []:
        if folder.endswith(".wants"):
            enabled.update(os.listdir(f"{ETC_UNITS}/{folder}"))

    def in_order(unit: str, seen: set[str]) -> None:
        if unit in seen:
            return
        seen.add(unit)
        for before in " ".join(load_or_nothing(unit).get("After", [])).split():
            if before in enabled:
                in_order(before, seen)
        try:
            start(unit, at_boot=True)
        except UnitError as error:
            print(error, file=sys.stderr)

    seen: set[str] = set()
    # SSH first: a host is up when it answers.
    for unit in sorted(enabled, key=lambda name: (name != "ssh.service", name)):
        in_order(unit, seen)
