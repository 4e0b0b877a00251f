"""Pulls a tree by rsync, on the replica's host.

Joined with obeyed.py, sent to hosts and run by their own Python (3.9 or newer): standard library only. It keeps the
chatter of rsync on the host: progress at most twice a second, the first names of what moved, counts at the end.

Rules: one pull per target at a time; rsync ends with this program; a name that changed or vanished is told, never
hidden; what is told to be there outlives a loss of power.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import IO, Any

from orchestrator.movers.host_programs.obeyed import why_open

NAMES_MAX = 50
TRIAL_SECONDS_MAX = 30
WENT_THROUGH = (0, 23, 24)  # rsync's codes: also where something vanished, or could not be read
PR_SET_PDEATHSIG = 1
# rsync prints names between these marks, so that a file called like a statistic is not taken for one.
NAME_MARK = "skerry-name "
PROGRESS = re.compile(r"^\s*([\d,.]+)\s+(\d+)%\s+([\d.]+)([kMGT]?)B/s")
UNSETTLED = (
    re.compile(r'^file has vanished: "(.*)"'),
    re.compile(r"^WARNING: (.*) failed verification -- update (?:discarded|put into partial-dir)"),
    re.compile(r"^ERROR: (.*) failed verification"),
    re.compile(r'^rsync: (?:\[\w+\] )?(?:link_stat|send_files failed to open) "(.*?)" failed: No such file'),
    re.compile(r'^rsync: (?:\[\w+\] )?readlink_stat\("(.*?)"\) failed: No such file'),
)
STATISTICS = {
    "Number of files": "files",
    "Number of created files": "created",
    "Number of regular files transferred": "files_moved",
    "Number of deleted files": "deleted",
    "Total file size": "bytes_total",
    "Total transferred file size": "bytes_moved",
    "Total bytes sent": "bytes_sent",
    "Total bytes received": "bytes_received",
}
UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def say(kind: str, value: dict[str, Any]) -> None:
    sys.stdout.write(kind + " " + json.dumps(value) + "\n")
    sys.stdout.flush()


def number(text: str) -> int:
    digits = re.match(r"[\d,.]+", text.strip())
    return int(re.sub(r"[,.]", "", digits.group(0))) if digits else 0


class Hearing:
    """Takes rsync's lines."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.moved = 0
        self.unsettled: list[str] = []
        self.complaints: list[str] = []
        self.statistics: dict[str, int] = {}
        self.next_progress = 0.0
        self.bytes_done = 0

    def out(self, line: str) -> None:
        if line.startswith(NAME_MARK):
            what, _, name = line[len(NAME_MARK) :].partition(" ")
            # `.d..t......`: only times of a folder; nothing of it moved.
            if what[:2] not in (".d", ".f", ".L", ".S", ".D"):
                self.moved += 1
                if len(self.names) < NAMES_MAX:
                    self.names.append(name)
            return
        found = PROGRESS.match(line)
        if found:
            now = time.monotonic()
            self.bytes_done = number(found.group(1))
            if now >= self.next_progress:
                self.next_progress = now + 0.5
                rate = float(found.group(3)) * UNITS[found.group(4)]
                say("progress", {"bytes": self.bytes_done, "percent": int(found.group(2)), "rate": rate})
            return
        key, _, value = line.partition(":")
        if key in STATISTICS:
            self.statistics[STATISTICS[key]] = number(value)

    def error(self, line: str) -> None:
        for pattern in UNSETTLED:
            found = pattern.match(line)
            if found:
                if len(self.unsettled) < NAMES_MAX:
                    self.unsettled.append(found.group(1))
                return
        if line.strip() and len(self.complaints) < NAMES_MAX:
            self.complaints.append(line.strip())


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def listen(stream: IO[bytes], take: Callable[[str], None]) -> None:
    pending = b""
    while True:
        data = os.read(stream.fileno(), 65536)
        if not data:
            break
        pending += data
        pieces = re.split(rb"[\r\n]", pending)
        pending = pieces.pop()
        for piece in pieces:
            if piece:
                take(piece.decode("utf-8", "surrogateescape"))
    if pending:
        take(pending.decode("utf-8", "surrogateescape"))


def lock(target: str) -> int:
    """One pull per target: a second one would delete what the first brings."""
    folder = os.path.join(os.path.dirname(target.rstrip("/")), ".skerry-points")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    descriptor = os.open(
        os.path.join(folder, os.path.basename(target.rstrip("/")) + ".lock"),
        os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
        0o600,
    )
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def choose_words(words: list[str], *, resume: bool, distrusted: bool) -> list[str]:
    """Of a copy that broke off, blocks are compared; of one that is not what it seems, both ends read all of it."""
    chosen = ["--no-whole-file" if resume and word == "--whole-file" else word for word in words]
    return [*chosen[:1], "--checksum", *chosen[1:]] if distrusted else chosen


def resumes_files() -> bool:
    """Whether this rsync goes on with a file of which a part lies in a folder outside of the tree.

    Debian's 3.2.7-1+deb12u5 and later does not: its receiver finds no such part, and the copy breaks off at that file,
    whoever tries it again. There the file is brought anew; the others are not.
    """
    with tempfile.TemporaryDirectory(prefix="skerry-rsync-") as folder:
        whole = os.urandom(1 << 15)
        for name in ("here", "there", "parts"):
            os.mkdir(os.path.join(folder, name))
        for name, content in (("here", whole), ("parts", whole[: 1 << 14])):
            with open(os.path.join(folder, name, "file"), "wb") as stream:
                stream.write(content)
        words = ["rsync", "-t", "--no-whole-file", "--partial-dir=" + folder + "/parts"]
        tried = subprocess.run(
            [*words, folder + "/here/file", folder + "/there/"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=TRIAL_SECONDS_MAX,
        )
        return tried.returncode == 0


def distrusted_mark(target: str) -> str:
    """The file that stands while the target is known to differ although nothing told of it."""
    folder, name = os.path.split(target.rstrip("/"))
    return os.path.join(folder, ".skerry-points", name + ".distrusted")


def keep_on_disk(target: str) -> None:
    """By itself rsync leaves that to the kernel: for half a minute, a host that loses power loses what was copied."""
    descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), target)
    finally:
        os.close(descriptor)


def begin(words: list[str], stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """rsync, which nobody hears yet."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RSYNC_")}
    environment["LC_ALL"] = "C.UTF-8"
    return subprocess.Popen(
        words,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=die_with_parent,  # no other thread runs yet
        env=environment,
    )


def pull(
    words: list[str],
    target: str,
    stop_after_seconds: float | None = None,
    begun: subprocess.Popen[bytes] | None = None,
) -> dict[str, Any]:
    """Let rsync run to its end, or end it after so many seconds; what arrived until then is kept for the next pull.

    `begun` is that of `words` where somebody began it before.
    """
    hearing = Hearing()
    started = time.monotonic()
    child = begun or begin(words)
    stdout, stderr = child.stdout, child.stderr
    if stdout is None or stderr is None:
        raise RuntimeError("rsync was started without pipes")
    hear_errors = threading.Thread(target=listen, args=(stderr, hearing.error), daemon=True)
    hear_errors.start()
    told_to_stop = threading.Event()

    def stop() -> None:
        told_to_stop.set()
        child.terminate()

    timer = threading.Timer(stop_after_seconds or 0.0, stop)
    if stop_after_seconds is not None:
        timer.start()
    try:
        listen(stdout, hearing.out)
        code = child.wait()
        hear_errors.join()
    except BrokenPipeError:
        # Whoever asked is gone; a pull that nobody watches must not run on.
        child.terminate()
        child.wait()
        raise SystemExit(1) from None
    finally:
        timer.cancel()
    stopped = told_to_stop.is_set() and code != 0
    if code in WENT_THROUGH and "--dry-run" not in words:
        try:
            keep_on_disk(target)
        except OSError as error:
            code = 11
            hearing.complaints.append("%s: %s" % (error.filename, os.strerror(error.errno or 0)))
    if stopped:
        hearing.statistics["bytes_received"] = hearing.bytes_done
    return {
        "code": code,
        "stopped": stopped,
        "names": hearing.names,
        "moved": hearing.moved,
        "unsettled": hearing.unsettled,
        "complaints": hearing.complaints,
        "statistics": hearing.statistics,
        "seconds": round(time.monotonic() - started, 4),
    }


SPEAKER = 'sh -c \'shift; printf "asks %s\\n" "$*" >&2\' speaker'


def ask_words(words: list[str]) -> dict[str, Any]:
    """What rsync would have the other side run, word for word: it is let speak to a shell that only prints."""
    words = [SPEAKER if word == "{shell}" else word for word in words]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    for line in done.stderr.decode("utf-8", "surrogateescape").splitlines():
        if line.startswith("asks "):
            return {"asks": line[len("asks ") :]}
    return {"code": done.returncode, "complaints": done.stderr.decode("utf-8", "replace").splitlines()[-5:]}


def is_empty(target: str) -> bool:
    try:
        with os.scandir(target) as entries:
            return next(entries, None) is None
    except FileNotFoundError:
        return True


def distrust(target: str) -> None:
    """Have the next copy read all of it, also while one is under way. What takes no mark takes no copy either."""
    mark = distrusted_mark(target)
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(mark), mode=0o700, exist_ok=True)
        with open(mark, "wb"):
            pass


def main() -> None:
    request = json.loads(sys.argv[1])
    target = request["target"]
    if request.get("distrust"):
        distrust(target)
        say("result", {"code": 0})
        return
    try:
        os.makedirs(os.path.dirname(target.rstrip("/")), exist_ok=True)
        held = lock(target)
    except BlockingIOError:
        say("result", {"busy": True})
        return
    except OSError as error:
        say("result", {"code": 11, "complaints": [f"{error.filename}: {os.strerror(error.errno or 0)}"]})
        return
    try:
        mark = distrusted_mark(target)
        if request.get("ask"):
            # A file that broke off is worth a comparison of blocks; else whole files are quicker.
            resume = os.path.isdir(request["partial"]) and bool(os.listdir(request["partial"])) and resumes_files()
            way = {"resume": resume, "distrusted": os.path.exists(mark)}
            say("result", {**ask_words(choose_words(request["words"], **way)), **way, "empty": is_empty(target)})
        else:
            if why := why_open(request.get("order")):
                say("result", {"open": why})
                return
            way = {"resume": request["resume"], "distrusted": request["distrusted"]}
            result = pull(choose_words(request["words"], **way), target, request.get("stop_after_seconds"))
            if request["distrusted"] and result["code"] == 0 and "--dry-run" not in request["words"]:
                os.unlink(mark)
            say("result", result)
    except FileNotFoundError:
        say("result", {"code": 127, "complaints": ["rsync: command not found"]})
    finally:
        with contextlib.suppress(OSError):
            os.close(held)


if __name__ == "__main__":
    main()
