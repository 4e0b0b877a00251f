"""Exec lines of units: environment, user, folder and log of what a service starts."""

from __future__ import annotations

import os
import pwd
import sys
import time

from orchestrator.lab.host_programs.systemctl_stand_in.processes import main_pid
from orchestrator.lab.host_programs.systemctl_stand_in.unit_files import (
    PREFIX,
    Settings,
    UnitError,
    last,
    map_word,
    on_this_host,
)

LOGS = f"{PREFIX}/var/log"
PATH = f"{PREFIX}/opt/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEPT_ENVIRONMENT = ("SKERRY_LAB_PREFIX", "SKERRY_LAB_FOLDER", "SKERRY_LAB_HOST")


def environment_of(settings: Settings, unit: str, invocation: str) -> dict[str, str]:
    environment = {"PATH": PATH, "LANG": "C.UTF-8", "INVOCATION_ID": invocation}
    environment.update({key: os.environ[key] for key in KEPT_ENVIRONMENT if key in os.environ})
    for name in settings.get("EnvironmentFile", []):
        path = on_this_host(name.lstrip("-"))
        if not os.path.exists(path):
            if name.startswith("-"):
                continue
            raise UnitError(f"Failed to load environment file {path} of {unit}.")
        with open(path, encoding="utf-8") as stream:
            for line in stream:
                key, equals, value = line.strip().partition("=")
                if equals and key[0] not in "#;":
                    environment[key] = map_word(value.strip("\"'"))
    for line in settings.get("Environment", []):
        for word in words_of(line):
            key, _, value = word.partition("=")
            environment[key] = map_word(value)
    pid = main_pid(unit)
    if pid:
        environment["MAINPID"] = str(pid)
    return environment


def words_of(line: str) -> list[str]:
    import shlex  # what only asks does not wait for it

    return shlex.split(line)


def program_of(line: str) -> str:
    return words_of(line.lstrip("-@+!:"))[0]


def expand(word: str, environment: dict[str, str]) -> list[str]:
    """${NAME} anywhere and $NAME as a whole word, as systemd does."""
    if word.startswith("$") and word[1:].isidentifier():
        return environment.get(word[1:], "").split()
    pieces = word.replace("$$", "\0").split("${")
    for number in range(1, len(pieces)):
        name, _, rest = pieces[number].partition("}")
        pieces[number] = environment.get(name, "") + rest
    return ["".join(pieces).replace("\0", "$")]


def one_user_id_only() -> bool:
    with open("/proc/self/uid_map", encoding="utf-8") as stream:
        return stream.read().split()[2] == "1"


def words_as_user(words: list[str], user: str) -> list[str]:
    """The words to run as `user`; where only one user id exists, in a user namespace in which that id is the user's."""
    if not user or user == "root" or (PREFIX and os.getuid() != 0):
        return words
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise UnitError(f"Failed to determine user credentials: no user {user}", 217) from None
    if one_user_id_only():
        return ["unshare", "--user", f"--map-user={entry.pw_uid}", f"--map-group={entry.pw_gid}", "--", *words]
    set_user = ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups"]
    if PREFIX:
        # The folders above the lab's may be closed to this user; on a host of its own there are none.
        set_user += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [*set_user, "--", *words]


def run(settings: Settings, unit: str, line: str, invocation: str, *, wait: bool) -> int:
    """Start one Exec line; its exit code where `wait` (0 for lines that begin with `-`), else its pid."""
    marks = line[: len(line) - len(line.lstrip("-@+!:"))]
    environment = environment_of(settings, unit, invocation)
    user = last(settings, "User")
    if user and "+" not in marks:
        try:
            environment.update(HOME=map_word(pwd.getpwnam(user).pw_dir), USER=user, LOGNAME=user)
        except KeyError:
            pass  # words_as_user says so
    line = line.lstrip("-@+!:").replace("%n", unit).replace("%N", unit.removesuffix(".service"))
    words = [part for word in words_of(line) for part in expand(map_word(word), environment)]
    words = words_as_user(words, "" if "+" in marks else user)
    folder = on_this_host(last(settings, "WorkingDirectory", PREFIX or "/").lstrip("-"))
    for name in last(settings, "RuntimeDirectory").split():
        os.makedirs(f"{PREFIX}/run/{name}", exist_ok=True)
        if user and user != "root" and os.getuid() == 0 and not one_user_id_only():
            entry = pwd.getpwnam(user)
            os.chown(f"{PREFIX}/run/{name}", entry.pw_uid, entry.pw_gid)
    os.makedirs(LOGS, exist_ok=True)
    log = os.open(f"{LOGS}/{unit}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    sys.stdout.flush()
    sys.stderr.flush()
    out = timestamped(log) if last(settings, "X-LabTimestamps") == "yes" else log
    pid = os.fork()
    if pid == 0:
        become_service(words, environment, folder, out, last(settings, "UMask", "0022"))
    os.close(out)
    if not wait:
        return pid
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return 0 if "-" in marks else code


def timestamped(log: int) -> int:
    """A descriptor whose lines get the time before them, as in a journal; a child of ours sees to it until its end."""
    inlet, outlet = os.pipe()
    if os.fork():
        os.close(inlet)
        os.close(log)
        return outlet
    os.setsid()
    nothing = os.open("/dev/null", os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(nothing, target)
    os.close(outlet)
    with os.fdopen(inlet, "rb") as lines:
        for line in lines:
            now = time.time()
            moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z "
            os.write(log, moment.encode() + line.rstrip(b"\r\n") + b"\n")
    os._exit(0)


def become_service(words: list[str], environment: dict[str, str], folder: str, out: int, umask: str) -> None:
    """In the child: a session of its own, streams to the log, then the program. 203 when it cannot be run."""
    try:
        os.setsid()
        nothing = os.open("/dev/null", os.O_RDONLY)
        for source, target in ((nothing, 0), (out, 1), (out, 2)):
            os.dup2(source, target)
        os.closerange(3, 256)
        os.umask(int(umask, 8))
        os.chdir(folder)
        os.execvpe(words[0], words, environment)
    except OSError as error:
        os.write(2, f"{words[0]}: {error.strerror}\n".encode())
    os._exit(203)


def conditions_hold(settings: Settings) -> bool:
    for line in settings.get("ConditionPathExists", []):
        wanted = not line.startswith("!")
        if os.path.exists(on_this_host(line.lstrip("!"))) != wanted:
            return False
    return True
