"""Where a run takes place: the controller's clock, its programs and their versions, and the estate's commit.

Facts as this machine tells them, nothing guessed: what does not answer is left out, and an unknown clock is `unknown`.
"""

import ctypes
import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator import __version__

ANSWER_SECONDS_MAX = 5.0
_TIME_ERROR = 5  # what adjtimex(2) returns while the kernel's clock is not synchronised
_NANOSECONDS = 0x2000  # its status bit: offsets are in nanoseconds, not microseconds
_LEAP = {0: "none", 1: "insert", 2: "delete", 3: "under way", 4: "past"}


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), as far as it is read here."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def surroundings(estate: Path | None, policy: str = "") -> dict[str, Any]:
    """What `run.created` says beside the plan: `clock` and `environment`. Takes some tenths of a second.

    `estate` is the folder of the inventory, whose commit is told where it is a checkout of git; `policy` the digest of
    the trust policy in force, told where there is one.
    """
    environment = environment_facts()
    found = commit_of(estate) if estate is not None else None
    told = {"clock": clock_facts(), "environment": environment | ({"estate": found} if found else {})}
    return told | ({"policy": policy} if policy else {})


# -- the clock


def clock_facts() -> dict[str, Any]:
    """`source`, whether it is `synchronised` (absent where nobody says), and what is said of offset and error.

    source is what disciplines the clock: chrony, systemd-timesyncd, kernel (something does, unnamed), none or unknown.
    """
    kernel, chrony, timesync = _kernel_clock(), _chrony(), _timesync()
    facts: dict[str, Any] = {"source": "unknown"}
    if chrony and chrony["leap"] != "Not synchronised":
        facts |= {"source": "chrony", "synchronised": True, **chrony}
    elif timesync and timesync["synchronised"] and timesync["service"]:
        facts |= {"source": "systemd-timesyncd", "synchronised": True}
    elif kernel:
        facts |= {"source": "kernel" if kernel["synchronised"] else "none", "synchronised": kernel["synchronised"]}
    if kernel:
        facts["kernel"] = kernel
    return facts


def _kernel_clock() -> dict[str, Any]:
    """What adjtimex(2) says; empty where this system has no such call."""
    try:
        ask = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return {}
    timex = _Timex()
    state = ask(ctypes.byref(timex))
    if state < 0:
        return {}
    unit = 1e-9 if timex.status & _NANOSECONDS else 1e-6
    return {
        "synchronised": state != _TIME_ERROR,
        "leap": _LEAP.get(state, "unknown"),
        "offsetSeconds": round(timex.offset * unit, 9),
        "errorSecondsMax": round(timex.maxerror * 1e-6, 6),
        "errorSecondsEstimated": round(timex.esterror * 1e-6, 6),
    }


def _chrony() -> dict[str, Any]:
    return read_chrony(_said(["chronyc", "-c", "-n", "tracking"]))


def read_chrony(said: str) -> dict[str, Any]:
    """`chronyc -c tracking`: one line of comma-separated values. Empty for anything else."""
    parts = said.strip().split(",")
    try:
        return {
            "reference": parts[1] or parts[0],
            "stratum": int(parts[2]),
            "offsetSeconds": float(parts[4]),
            "leap": parts[13],
        }
    except (IndexError, ValueError):
        return {}


def _timesync() -> dict[str, Any]:
    return read_timedatectl(_said(["timedatectl", "show", "--property=NTP", "--property=NTPSynchronized"]))


def read_timedatectl(said: str) -> dict[str, Any]:
    """`timedatectl show`; empty where it says nothing (no systemd)."""
    values = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    if not {"NTP", "NTPSynchronized"} <= values.keys():
        return {}
    return {"service": values["NTP"] == "yes", "synchronised": values["NTPSynchronized"] == "yes"}


# -- programs


def environment_facts() -> dict[str, Any]:
    """Versions of what carries a run out here. What is not there is not told."""
    ssh = _said(["ssh", "-V"], errors_too=True).strip().splitlines()
    facts: dict[str, Any] = {
        "skerry": {"version": __version__, "digest": program_digest()},
        "python": platform.python_version(),
        "os": _os_name(),
        "kernel": platform.release(),
        "machine": platform.machine(),
    }
    with suppress(PackageNotFoundError):  # no playbook runs here
        facts["ansible-core"] = version("ansible-core")
    if ssh:
        facts["ssh"] = ssh[0][:100]
    boot = _file("/proc/sys/kernel/random/boot_id")
    if boot:
        facts["bootId"] = boot
    return facts


def program_digest() -> str:
    """SHA-256 over `<digest>  <path>` of every Python file of the package as it runs here, in the order of paths."""
    package = Path(__file__).resolve().parents[1]
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(package).as_posix()}\n"
        for path in sorted(package.rglob("*.py"))
    ]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def _os_name() -> str:
    lines = [line.partition("=") for line in _file("/etc/os-release").splitlines()]
    names = {name: value.strip('"') for name, _, value in lines}
    return names.get("PRETTY_NAME") or platform.system()


# -- the estate


def commit_of(folder: Path) -> dict[str, Any] | None:
    """The commit of the checkout that `folder` lies in, whether all is as in it, and whether it carries a signature.

    The signature is not judged here. None where the folder is in no checkout.
    """
    git = ["git", "-C", str(folder), "-c", "core.fsmonitor=false"]  # nothing that the repository names is started
    commit = _said([*git, "rev-parse", "--verify", "--quiet", "HEAD"]).strip()
    if not commit:
        return None
    header = _said([*git, "cat-file", "commit", commit]).partition("\n\n")[0]
    # One call that fails must not pass for a clean checkout.
    changed = _answer([*git, "status", "--porcelain", "--untracked-files=all", "--", "."])
    found: dict[str, Any] = {"commit": commit, "signed": "\ngpgsig" in header}
    if changed is not None:
        found["clean"] = not changed
    return found


def _said(words: Sequence[str], *, errors_too: bool = False) -> str:
    """What a program prints; nothing where it is missing, fails or does not answer in time."""
    return _answer(words, errors_too=errors_too) or ""


def _answer(words: Sequence[str], *, errors_too: bool = False) -> str | None:
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors_too else subprocess.DEVNULL,
            timeout=ANSWER_SECONDS_MAX,
            env=_plain_environment(os.environ),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _plain_environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in ("PATH", "HOME") if name in environment} | {"LC_ALL": "C"}


def _file(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
