"""Namespaces: making them, entering them, and what the first process within sets up."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterable
from typing import Any

NEW_MOUNTS, NEW_NAME, NEW_IPC = 0x20000, 0x4000000, 0x8000000
NEW_PROCESSES, NEW_NETWORK = 0x20000000, 0x40000000
ALL_NEW = NEW_MOUNTS | NEW_NAME | NEW_IPC | NEW_PROCESSES | NEW_NETWORK
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DETACH = 2
# statvfs flag → mount flag: a remount repeats what is there, or a user namespace refuses it.
KEPT_FLAGS = ((2, 2), (4, 4), (8, 8), (1024, 1024), (2048, 2048), (4096, 1 << 21))
# Within, these are empty and the bubble's own: sockets, queues and logs of the host must not be reached or written.
FOR_ALL = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 nothing is put there; they are covered
EMPTY_PLACES = ("/run", "/var/log", "/var/spool", "/var/mail", *FOR_ALL)
OF_THE_KERNEL = ("/proc", "/dev")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")  # no disk of the host, and nothing of its hardware
FOR_MACHINES = ("kvm",)  # the processor's own help; it reaches no disk and no network
KERNEL_KNOBS = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus")
READY_SECONDS_MAX = 30.0
REAPER_LOOKS_EVERY_SECONDS = 0.2

libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """What the host does not allow, in words for an operator."""


def must(result: int, doing: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise Refused("%s: %s" % (doing, os.strerror(number)))


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    words = [word.encode() for word in (source, target, kind)]
    must(libc.mount(*words, ctypes.c_ulong(flags), data.encode() or None), "mounting %s at %s" % (source, target))


def fork_keeper(folder: str, keep: Callable[[], None]) -> int:
    """Start the first process of a bubble, which does `keep` in namespaces of its own; its number as seen from here.

    It belongs to nobody's session or group: it ends when it is killed, or its time is over.
    """
    # Opened out here: a file that is open for writing keeps its mount within from becoming read-only.
    log = os.open(os.path.join(folder, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        code = 1
        try:
            os.setsid()
            must(libc.unshare(ALL_NEW), "namespaces of its own")
            first = os.fork()
            if first == 0:
                _quiet(log)
                keep()
                os._exit(0)
            os.write(writing, b"%d" % first)
            code = 0
        except (Refused, OSError) as error:
            os.write(writing, ("! %s" % error).encode())
        os._exit(code)
    os.close(writing)
    os.close(log)
    os.waitpid(parent, 0)
    said = os.read(reading, 4096).decode()
    os.close(reading)
    if not said.isdigit():
        raise Refused(said.lstrip("! ") or "the bubble's first process did not begin")
    return int(said)


def _quiet(log: int) -> None:
    """No stream of ours stays open in what outlives us."""
    nothing = os.open("/dev/null", os.O_RDONLY)
    for descriptor, to in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, to)
    os.closerange(3, 256)


class Lease:
    """Whether whoever opened a bubble has been heard of lately: by a file that is touched again and again.

    Measured by how long the file's time stays the same, so that a clock that is set does no harm.
    """

    def __init__(self, path: str, seconds: float) -> None:
        self._path, self._seconds = path, seconds
        self._seen, self._since = -1, time.monotonic()

    def is_over(self) -> bool:
        try:
            touched = os.stat(self._path).st_mtime_ns
        except OSError:
            return True  # it is taken away
        if touched != self._seen:
            self._seen, self._since = touched, time.monotonic()
        return time.monotonic() - self._since > self._seconds


def fork_reaper(keeper_lives: Callable[[], bool], folder: str) -> int:
    """Start the process on the host that erases `folder` as soon as the keeper has ended, whoever ended it."""
    reaper = os.fork()
    if reaper:
        return reaper
    os.setsid()
    _quiet(os.open("/dev/null", os.O_WRONLY))
    while keeper_lives():
        time.sleep(REAPER_LOOKS_EVERY_SECONDS)
    deadline = time.monotonic() + READY_SECONDS_MAX
    while os.path.lexists(folder) and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(REAPER_LOOKS_EVERY_SECONDS)
    os._exit(0)


def keep(
    folder: str,
    mounts: list[dict[str, Any]],
    addresses: list[str],
    sockets: list[str],
    seconds: float,
    lease: Lease,
) -> None:
    """What the first process does: set up, say so, and stay until its time is over, or its lease."""
    try:
        set_up(folder, mounts, addresses, sockets)
        answer = "ready"
    except (Refused, OSError) as error:
        answer = "! %s" % error
    os.write(1, (answer + "\n").encode())
    deadline = time.monotonic() + seconds
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while answer == "ready" and time.monotonic() < deadline and not lease.is_over():
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            ended = 0
        if not ended:
            time.sleep(0.2)


def set_up(folder: str, mounts: list[dict[str, Any]], addresses: list[str], sockets: list[str]) -> None:
    mount("none", "/", "none", REC | PRIVATE)
    own = []
    for one in mounts:
        if one["bytes_max"]:
            keep_small(one)
            own.append(os.path.dirname(one["upper"]))
        if one["how"] == "overlay":
            parts = "lowerdir=%s,upperdir=%s,workdir=%s" % (one["from"], one["upper"], one["work"])
            mount("overlay", one["merged"], "overlay", 0, parts)
        else:
            mount(one["merged"], one["merged"], "none", BIND)  # a mount of its own may be written where others may not
        own.append(one["merged"])
        own += show(one, later=False)
    machines = any(one["how"] == "blocks" for one in mounts)
    own_devices(os.path.join(folder, "devices"), FOR_MACHINES if machines else ())
    for place in mount_points():
        if place not in own and not place.startswith(OF_THE_KERNEL):
            make_read_only(place)
    hidden = [path for path in sockets if is_socket(path) and not path.startswith(EMPTY_PLACES)]
    for path in hidden:
        mount("/dev/null", path, "none", BIND)
    for place in EMPTY_PLACES:
        if os.path.isdir(place) and not os.path.islink(place):
            mode = "1777" if place in FOR_ALL else "755"
            mount("tmpfs", place, "tmpfs", NOSUID | NODEV, "mode=" + mode)
    for one in mounts:
        show(one, later=True)
    mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC)
    for place in KERNEL_KNOBS:
        if os.path.exists(place):
            mount(place, place, "none", BIND)
            make_read_only(place)
    lines = ["link set lo up"] + ["addr add %s/32 dev lo" % address for address in addresses if address != "127.0.0.1"]
    done = subprocess.run(["ip", "-b", "-"], input="\n".join(lines) + "\n", capture_output=True, text=True)
    if done.returncode:
        raise Refused("addresses within the bubble: %s" % done.stderr.strip())


def show(one: dict[str, Any], *, later: bool) -> list[str]:
    """Show a clone at its places; those in the bubble's own /run are made there, once that is there."""
    places = [(inner, at) for inner, at in one["places"] if at.startswith("/run/") == later]
    for inner, at in places:
        if later:
            os.makedirs(at, mode=0o755)
        mount(os.path.join(one["merged"], inner) if inner else one["merged"], at, "none", BIND)
    return [at for _, at in places]


def keep_small(one: dict[str, Any]) -> None:
    """The layer on a disk of its own that is full after `bytes_max`."""
    like = os.stat(one["from"])
    mount("tmpfs", os.path.dirname(one["upper"]), "tmpfs", NOSUID | NODEV, "size=%d,mode=755" % one["bytes_max"])
    for part in ("upper", "work", "merged"):
        os.mkdir(one[part])
    os.chown(one["upper"], like.st_uid, like.st_gid)
    shutil.copystat(one["from"], one["upper"])


def own_devices(aside: str, more: Iterable[str]) -> None:
    """/dev with what every program needs, and what of `more` the host has. `aside` is where it is put together."""
    os.makedirs(aside, mode=0o755)
    mount("tmpfs", aside, "tmpfs", NOSUID, "mode=755")
    for name in (*DEVICES, *(name for name in more if os.path.exists("/dev/" + name))):
        with open(os.path.join(aside, name), "w", encoding="ascii"):
            pass
        mount("/dev/" + name, os.path.join(aside, name), "none", BIND)
    for name in ("shm", "pts"):
        os.mkdir(os.path.join(aside, name))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink("/proc/self/fd/%d" % number, os.path.join(aside, name))
    os.symlink("/proc/self/fd", os.path.join(aside, "fd"))
    mount(aside, "/dev", "none", BIND | REC)
    must(libc.umount2(aside.encode(), DETACH), "letting go of " + aside)


def mount_points() -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        found = [line.split()[4].encode().decode("unicode_escape") for line in stream]
    return list(dict.fromkeys(found))


def make_read_only(place: str) -> None:
    try:
        has = os.statvfs(place).f_flag
    except OSError:
        return  # covered by another mount: nobody within reaches it
    kept = sum(flag for seen, flag in KEPT_FLAGS if has & seen)
    must(
        libc.mount(None, place.encode(), None, ctypes.c_ulong(BIND | REMOUNT | RDONLY | kept), None),
        "making %s read-only" % place,
    )


def is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def await_ready(folder: str, keeper: int) -> None:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        with open(os.path.join(folder, "log"), encoding="utf-8", errors="replace") as log:
            for line in log:
                if line.startswith("! "):
                    raise Refused(line[2:].strip())
                if line.strip() == "ready":
                    return
        if not os.path.exists("/proc/%d" % keeper):
            break
        time.sleep(0.01)
    raise Refused("the bubble did not come up within %g s" % READY_SECONDS_MAX)


def within(keeper: int, do: Callable[[], Any], say: Callable[[Any], None]) -> int:
    """Do it in the bubble, in a process of its own; its exit code. `say` is called there with what it found."""
    for kind in ("ipc", "uts", "net", "pid", "mnt"):
        descriptor = os.open("/proc/%d/ns/%s" % (keeper, kind), os.O_RDONLY | os.O_CLOEXEC)
        must(libc.setns(descriptor, 0), "entering the bubble")
        os.close(descriptor)
    inner = os.fork()
    if inner == 0:
        code = 1
        try:
            say(do())
            code = 0
        except (Refused, OSError) as error:
            say({"failed": str(error)})
        finally:
            os._exit(code)
    _, status = os.waitpid(inner, 0)
    return os.waitstatus_to_exitcode(status)
