#!/usr/bin/python3 -ESB
"""systemctl for lab hosts, which run no systemd: what Ansible, playbooks and people ask of units, kept honest.

Started as a program on hosts, so it imports the standard library alone. Units are read where systemd reads them, with
drop-ins; states live below /run/systemd/lab-units. Restart= is not obeyed: what dies stays dead, and shows as failed.
On loopback labs SKERRY_LAB_PREFIX is put before every path that belongs to the host, also within Exec lines.
"""

import contextlib
import fcntl
import os
import pwd
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator

PREFIX = os.environ.get("SKERRY_LAB_PREFIX", "")
ETC_UNITS = f"{PREFIX}/etc/systemd/system"
UNIT_FOLDERS = [ETC_UNITS, f"{PREFIX}/run/systemd/system", f"{PREFIX}/usr/local/lib/systemd/system"]
SYSTEM_UNITS = "/usr/lib/systemd/system"
STATES = f"{PREFIX}/run/systemd/lab-units"
LOGS = f"{PREFIX}/var/log"
OF_THE_HOST = ("/etc/", "/var/", "/srv/", "/opt/", "/home/", "/root/", "/run/", "/usr/local/")
PATH = f"{PREFIX}/opt/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EARLY_DEATH_SECONDS = 0.06  # a service that dies within this time after its start has failed to start
KEPT_ENVIRONMENT = ("SKERRY_LAB_PREFIX", "SKERRY_LAB_FOLDER", "SKERRY_LAB_HOST")

Settings = dict[str, list[str]]


class UnitError(Exception):
    """What systemctl would say on stderr, with its exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def on_this_host(path: str) -> str:
    """An absolute path of the host as it is called here."""
    if PREFIX and (path + "/").startswith(OF_THE_HOST) and not (path + "/").startswith(PREFIX + "/"):
        return PREFIX + path
    return path


def map_word(word: str) -> str:
    """A word of an Exec line or a value of the environment, its path mapped: /srv/x, --data=/srv/x."""
    name, equals, value = word.partition("=")
    if equals and value.startswith("/"):
        return f"{name}={on_this_host(value)}"
    return on_this_host(word) if word.startswith("/") else word


# -- units as files


def full_name(unit: str) -> str:
    return unit if unit.endswith((".service", ".target", ".timer", ".socket")) else unit + ".service"


def unit_path(unit: str) -> str | None:
    for folder in [*UNIT_FOLDERS, SYSTEM_UNITS]:
        if os.path.lexists(f"{folder}/{unit}"):
            return f"{folder}/{unit}"
    return None


def is_masked(unit: str) -> bool:
    path = unit_path(unit)
    return path is not None and os.path.realpath(path) == "/dev/null"


def read_settings(path: str, settings: Settings) -> None:
    """Add one file's settings; an empty assignment forgets what stood there before."""
    pending = ""
    with open(path, encoding="utf-8") as stream:
        for raw in stream:
            line = pending + raw.rstrip("\n")
            if line.endswith("\\"):
                pending = line[:-1] + " "
                continue
            pending = ""
            line = line.strip()
            if not line or line[0] in "#;[":
                continue
            key, _, value = line.partition("=")
            if value.strip():
                settings.setdefault(key.strip(), []).append(value.strip())
            else:
                settings.pop(key.strip(), None)


def load(unit: str) -> Settings:
    """Settings of a unit with its drop-ins, key → values in order. UnitError when there is none, or it is masked."""
    path = unit_path(unit)
    if path is None:
        raise UnitError(f"Unit {unit} not found.", 5)
    if is_masked(unit):
        raise UnitError(f"Unit {unit} is masked.")
    settings: Settings = {}
    read_settings(path, settings)
    drop_ins = {}
    for folder in reversed([*UNIT_FOLDERS, SYSTEM_UNITS]):
        if os.path.isdir(f"{folder}/{unit}.d"):
            names = [name for name in os.listdir(f"{folder}/{unit}.d") if name.endswith(".conf")]
            drop_ins.update({name: f"{folder}/{unit}.d/{name}" for name in names})
    for name in sorted(drop_ins):
        read_settings(drop_ins[name], settings)
    return settings


def load_or_nothing(unit: str) -> Settings:
    try:
        return load(unit)
    except UnitError:
        return {}


def last(settings: Settings, key: str, default: str = "") -> str:
    return settings.get(key, [default])[-1]


def seconds_of(text: str, default: float) -> float:
    try:
        return float(text.removesuffix("sec").removesuffix("s"))
    except ValueError:
        return default


def wants_links(unit: str) -> list[str]:
    settings = load_or_nothing(unit)
    targets = [name for key in ("WantedBy", "RequiredBy") for line in settings.get(key, []) for name in line.split()]
    return [f"{ETC_UNITS}/{target}.wants/{unit}" for target in targets]


def file_state(unit: str) -> str:
    if unit_path(unit) is None:
        return ""
    if is_masked(unit):
        return "masked"
    links = wants_links(unit)
    if any(os.path.lexists(link) for link in links):
        return "enabled"
    return "disabled" if links else "static"


# -- units as processes


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
        for word in shlex.split(line):
            key, _, value = word.partition("=")
            environment[key] = map_word(value)
    pid = main_pid(unit)
    if pid:
        environment["MAINPID"] = str(pid)
    return environment


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
    words = [part for word in shlex.split(line) for part in expand(map_word(word), environment)]
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


# -- verbs


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
        send(members(unit), signal.SIGKILL)
        forget(unit)
        invocation = os.urandom(16).hex()
        # Written before the first process: should this program be killed now, its processes are still found.
        remember(unit, "running", "0", "0", invocation)
        try:
            launch(unit, settings, invocation, at_boot=at_boot)
        except UnitError as error:
            send(members(unit), signal.SIGKILL)
            remember(unit, "failed", "1")
            raise UnitError(f"Job for {unit} failed: {error}\nSee {LOGS}/{unit}.log for details.") from None


@contextlib.contextmanager
def alone_with(unit: str) -> Iterator[None]:
    """One job at a time for a unit, as under systemd: a second start waits for the first and kills nothing of it.

    A lock of this process alone: the services that it forks do not inherit it, and it ends with the process.
    """
    os.makedirs(STATES, exist_ok=True)
    with open(f"{STATES}/.{unit}.job", "w", encoding="utf-8") as job:
        fcntl.lockf(job, fcntl.LOCK_EX)
        yield


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
        raise UnitError(f"{shlex.split(line.lstrip('-@+!:'))[0]} of {unit} ended with {code}")


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
            raise UnitError(f"{shlex.split(line.lstrip('-@+!:'))[0]} ended with {os.waitstatus_to_exitcode(status)}")
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
    number = getattr(signal, last(settings, "KillSignal", "SIGTERM"), signal.SIGTERM)
    send([pid for pid in first if pid], number)
    # A stopped process gets the signal only when it goes on.
    send([pid for pid in first if pid], signal.SIGCONT)
    deadline = time.monotonic() + seconds_of(last(settings, "TimeoutStopSec"), 30.0)
    watched = [pid for pid in first if pid]
    while any(stat_of(pid) for pid in watched) and time.monotonic() < deadline:
        time.sleep(0.005)
    if mode != "process":
        send(members(unit) if main else group, signal.SIGKILL)
        while any(stat_of(pid) for pid in group):
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


def boot() -> None:
    """Start what is enabled; a unit that fails does not keep the others from starting."""
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
