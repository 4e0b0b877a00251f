"""Units of the host, as its own files describe them, started within a bubble: no service manager is there."""

from __future__ import annotations

import glob
import grp
import os
import pwd
import re
import shlex
import signal
import socket
import subprocess
import time
from typing import Any

from orchestrator.hosts.host_programs.bubble.namespaces import Refused

PREFIXES = "@-:+!"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 20.0
# What could undo the walls, or reach hardware; a service that needs one of these cannot be drilled in a bubble.
TAKEN_AWAY = ("sys_admin", "sys_module", "sys_boot", "sys_rawio", "sys_ptrace", "mknod", "net_admin", "sys_time")
WALLED = ["setpriv", "--bounding-set=" + ",".join("-" + name for name in TAKEN_AWAY), "--inh-caps=-all"]
VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


def read_unit(name: str) -> dict[str, list[str]]:
    """The settings of a unit's section [Service], by key, as `systemctl cat` shows them; asked before the bubble is."""
    done = subprocess.run(["systemctl", "cat", name + ".service"], capture_output=True, text=True)
    if done.returncode:
        raise Refused("no unit %s: %s" % (name, done.stderr.strip()))
    settings: dict[str, list[str]] = {}
    section = ""
    for line in map(str.strip, re.sub(r"\\\n\s*", " ", done.stdout).splitlines()):
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            if value.strip():
                settings.setdefault(key.strip(), []).append(value.strip())
            else:
                settings[key.strip()] = []  # an empty value takes back what was said before
    if not settings.get("ExecStart"):
        raise Refused("unit %s starts nothing: it is empty, or the host is fenced" % name)
    return settings


def environment_of(settings: dict[str, list[str]], user: str) -> dict[str, str]:
    entry = pwd.getpwnam(user)
    found = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": entry.pw_dir, "USER": user, "LOGNAME": user, "SHELL": "/bin/sh"}
    for line in settings.get("Environment", []):
        pairs = [word.partition("=") for word in shlex.split(line)]
        found.update({key: value for key, sign, value in pairs if sign})
    for name in settings.get("EnvironmentFile", []):
        paths = sorted(glob.glob(name.lstrip("-")))
        if not paths and not name.startswith("-"):
            raise Refused("the file %s is missing" % name)
        for path in paths:
            with open(path, encoding="utf-8") as stream:
                for line in stream:
                    if "=" in line and not line.lstrip().startswith(("#", ";")):
                        key, _, value = line.strip().partition("=")
                        found[key] = "".join(shlex.split(value)) if value[:1] in "\"'" else value
    return found


def words_of(line: str, environment: dict[str, str]) -> list[str]:
    """A command as systemd reads it: `$NAME` alone is split into words, within a word a variable is put in whole."""
    words: list[str] = []
    for word in shlex.split(line.lstrip(PREFIXES)):
        alone = re.fullmatch(r"\$(\w+)", word)
        if alone:
            words += environment.get(alone[1], "").split()
        else:
            words.append(VARIABLE.sub(lambda found: environment.get(found[1] or found[2], ""), word).replace("%%", "%"))
    return words


def as_user(settings: dict[str, list[str]]) -> tuple[str, list[str]]:
    user = (settings.get("User") or ["root"])[-1]
    entry = pwd.getpwnam(user)
    group = (settings.get("Group") or [""])[-1]
    number = grp.getgrnam(group).gr_gid if group else entry.pw_gid
    if os.getuid() == entry.pw_uid and os.getgid() == number:
        return user, WALLED
    return user, [*WALLED, "--reuid=%d" % entry.pw_uid, "--regid=%d" % number, "--init-groups"]


def start_unit(name: str, settings: dict[str, list[str]]) -> dict[str, Any]:
    """Start it as the host would, but for its service manager, and within walls; a `oneshot` runs to its end."""
    user, change = as_user(settings)
    environment = environment_of(settings, user)
    folder = (settings.get("WorkingDirectory") or ["/"])[-1].lstrip("-")
    owner = pwd.getpwnam(user)
    for line in settings.get("RuntimeDirectory", []):
        for word in line.split():
            os.makedirs("/run/" + word, mode=0o755, exist_ok=True)
            os.chown("/run/" + word, owner.pw_uid, owner.pw_gid)
    main = settings["ExecStart"]
    oneshot = (settings.get("Type") or ["simple"])[-1] == "oneshot"
    with open("/run/%s.log" % name, "ab") as log:
        for line in settings.get("ExecStartPre", []) + (main if oneshot else []):
            done = subprocess.run(
                [*change, *words_of(line, environment)], env=environment, cwd=folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, timeout=START_SECONDS_MAX,
            )  # fmt: skip
            if done.returncode and not line.startswith("-"):
                raise Refused("%s: %s ended with %d: %s" % (name, line, done.returncode, last_lines(name)))
        if oneshot:
            return {"unit": name, "pid": 0}
        process = subprocess.Popen(
            [*change, *words_of(main[-1], environment)], env=environment, cwd=folder, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    with open("/run/%s.pid" % name, "w", encoding="ascii") as note:
        note.write(str(process.pid))
    return {"unit": name, "pid": process.pid}


def stop_units(names: list[str]) -> list[str]:
    """End units that were started here, in the order given, each with all that it started; those that did run."""
    stopped = []
    for name in names:
        path = "/run/%s.pid" % name
        if not os.path.exists(path):
            continue
        with open(path, encoding="ascii") as note:
            group = int(note.read())
        deadline = time.monotonic() + STOP_SECONDS_MAX
        number = int(signal.SIGTERM)
        while signalled(group, number):
            number = int(signal.SIGKILL) if time.monotonic() > deadline else 0
            time.sleep(0.02)
        stopped.append(name)
    return stopped


def signalled(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def await_port(name: str, address: str, port: int, pid: int) -> float:
    """Until it takes connections; how long that took."""
    started = time.monotonic()
    while time.monotonic() - started < START_SECONDS_MAX:
        with socket.socket() as caller:
            caller.settimeout(1.0)
            if caller.connect_ex((address, port)) == 0:
                return round(time.monotonic() - started, 3)
        if os.waitpid(pid, os.WNOHANG)[0]:
            raise Refused("%s ended before it took connections: %s" % (name, last_lines(name)))
        time.sleep(0.02)
    raise Refused("%s took no connection at %s:%d within %g s" % (name, address, port, START_SECONDS_MAX))


def last_lines(name: str) -> str:
    with open("/run/%s.log" % name, errors="replace") as stream:
        return " / ".join(line.strip() for line in stream.readlines()[-3:])
