"""systemctl for lab hosts, which run no systemd: what Ansible, playbooks and people ask of units, kept honest.

The parts of this folder are joined into one program on each host, of the standard library alone. Units are read where
systemd reads them, with drop-ins; states live below /run/systemd/lab-units. Restart= is not obeyed: what dies stays
dead, and shows as failed.
On loopback labs SKERRY_LAB_PREFIX is put before every path that belongs to the host, also within Exec lines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from orchestrator.lab.host_programs.systemctl_stand_in.processes import (
    active_state,
    forget,
    main_pid,
    members,
    recall,
    send,
)
from orchestrator.lab.host_programs.systemctl_stand_in.serving import serve
from orchestrator.lab.host_programs.systemctl_stand_in.unit_files import (
    UNIT_FOLDERS,
    UnitError,
    file_state,
    full_name,
    is_masked,
    last,
    load_or_nothing,
    unit_path,
)
from orchestrator.lab.host_programs.systemctl_stand_in.verbs import (
    boot,
    disable,
    enable,
    mask,
    reenable,
    reload,
    restart,
    start,
    stop,
    unmask,
)


def properties(unit: str) -> dict[str, str]:
    settings = load_or_nothing(unit)
    state, pid = active_state(unit), main_pid(unit)
    missing = unit_path(unit) is None
    running = "running" if pid else "exited"
    return {
        "Id": unit,
        "Names": unit,
        "Description": last(settings, "Description", unit),
        "LoadState": "not-found" if missing else "masked" if is_masked(unit) else "loaded",
        "ActiveState": state,
        "SubState": {"active": running, "inactive": "dead", "failed": "failed"}[state],
        "UnitFileState": file_state(unit),
        "MainPID": str(pid),
        "FragmentPath": unit_path(unit) or "",
        "CanReload": "yes" if "ExecReload" in settings else "no",
        "Type": last(settings, "Type", "simple"),
        "User": last(settings, "User"),
        "Result": "exit-code" if state == "failed" else "success",
        "NeedDaemonReload": "no",
        "InvocationID": (recall(unit)[3:] or [""])[0],
    }


def known_units() -> list[str]:
    names: set[str] = set()
    for folder in UNIT_FOLDERS:
        if os.path.isdir(folder):
            names.update(name for name in os.listdir(folder) if name.endswith(".service"))
    return sorted(names)


SILENT = {"daemon-reload", "daemon-reexec"}
CHANGES: dict[str, Callable[[str], object]] = {
    "start": start,
    "stop": stop,
    "restart": restart,
    "try-restart": lambda unit: restart(unit) if active_state(unit) == "active" else None,
    "reload": lambda unit: reload(unit, or_restart=False),
    "reload-or-restart": lambda unit: reload(unit, or_restart=True),
    "enable": enable,
    "disable": disable,
    "reenable": reenable,
    "mask": mask,
    "unmask": unmask,
    "reset-failed": lambda unit: forget(unit) if active_state(unit) == "failed" else None,
}
NOW: dict[str, Callable[[str], None]] = {"enable": start, "disable": stop, "mask": stop, "reenable": restart}
OPTIONS_WITH_VALUE = ("-p", "--property", "-n", "--lines", "-t", "--type", "--state", "-s", "--signal", "-o")


def read_words(words: list[str]) -> tuple[str, list[str], set[str], dict[str, list[str]]]:
    """(verb, units, flags, options)"""
    plain: list[str] = []
    flags: set[str] = set()
    options: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name in OPTIONS_WITH_VALUE:
            options.setdefault(name, []).append(value if equals else next(rest, ""))
        elif word.startswith(("--kill-who=", "--kill-whom=")):
            options["--kill-who"] = [value]
        elif word.startswith("-"):
            flags.add(word)
        else:
            plain.append(word)
    return (plain or ["list-units"])[0], [full_name(unit) for unit in plain[1:]], flags, options


def ask(verb: str, unit: str, flags: set[str], options: dict[str, list[str]]) -> int:
    """Verbs that only look, and kill; the exit code."""
    quiet = bool(flags & {"-q", "--quiet"})
    if verb == "is-active":
        state = active_state(unit)
        print("" if quiet else f"{state}\n", end="")
        return 0 if state == "active" else 3
    if verb == "is-failed":
        state = active_state(unit)
        print("" if quiet else f"{state}\n", end="")
        return 0 if state == "failed" else 1
    if verb == "is-enabled":
        state = file_state(unit)
        if not state:
            print(f"Failed to get unit file state for {unit}: No such file or directory", file=sys.stderr)
        elif not quiet:
            print(state)
        return 0 if state in ("enabled", "static") else 1
    if verb == "show":
        wanted = {name for value in options.get("-p", []) + options.get("--property", []) for name in value.split(",")}
        for key, value in properties(unit).items():
            if not wanted or key in wanted:
                print(value if "--value" in flags else f"{key}={value}")
        return 0
    if verb == "cat":
        path = unit_path(unit)
        if path is None:
            print(f"No files found for {unit}.", file=sys.stderr)
            return 1
        with open(path, encoding="utf-8") as stream:
            print(f"# {path}\n{stream.read()}")
        return 0
    if verb == "kill":
        import signal  # it takes as long as all the rest of this program

        text = (options.get("-s", []) + options.get("--signal", []) or ["SIGTERM"])[-1]
        number = int(text) if text.isdigit() else getattr(signal, "SIG" + text.removeprefix("SIG"))
        only_main = options.get("--kill-who") == ["main"]
        send([main_pid(unit)] if only_main and main_pid(unit) else members(unit), number)
        return 0
    if verb == "status":
        shown = properties(unit)
        print(f"{unit} - {shown['Description']}\n     Loaded: {shown['LoadState']} ({shown['FragmentPath']}; "
              f"{shown['UnitFileState']})\n     Active: {shown['ActiveState']} ({shown['SubState']})\n"
              f"   Main PID: {shown['MainPID']}")  # fmt: skip
        return 0 if shown["ActiveState"] == "active" else 4 if shown["LoadState"] == "not-found" else 3
    raise UnitError(f"Unknown command verb {verb}.")


def main(words: list[str]) -> int:
    verb, units, flags, options = read_words(words)
    if "--version" in flags:
        print("systemd 252 (252 of a lab host)")
    elif verb == "is-system-running":
        print("running")
    elif verb == "boot":
        boot()
    elif verb == "serve":
        serve(main)
    elif verb in ("list-units", "list-unit-files"):
        for unit in known_units():
            if not units or unit in units:
                shown = properties(unit)
                row = f"{shown['LoadState']} {shown['ActiveState']} {shown['SubState']} {shown['Description']}"
                print(f"{unit} {row}" if verb == "list-units" else f"{unit} {shown['UnitFileState']} enabled")
    elif verb not in SILENT:
        code = 0
        for unit in units:
            try:
                if verb in CHANGES:
                    CHANGES[verb](unit)
                    if "--now" in flags and verb in NOW:
                        NOW[verb](unit)
                else:
                    code = ask(verb, unit, flags, options) or code
            except UnitError as error:
                print(error, file=sys.stderr)
                code = error.code
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
