"""What this machine offers a lab: programs, namespaces, and processes that are not mistaken for later ones."""

import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.foundation.errors import LabError, MissingPackage, UsageError

# What hosts of the lab run on: they see /usr of this machine, and nothing of a virtual environment.
SYSTEM_PYTHON = "/usr/bin/python3"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Program → the Debian package that brings it.
_PROGRAMS_ALWAYS = {
    "python3": "python3",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "setsid": "util-linux",
    "setpriv": "util-linux",
}
_PROGRAMS_NAMESPACES = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2"}
_NAMESPACE_OPTIONS = ["-n", "-m", "-p", "-f", "--mount-proc"]


def bare_environment() -> dict[str, str]:
    """What a process of the lab starts with: nothing of the operator's environment, so no secret of theirs either."""
    return {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "HOME": "/root" if os.getuid() == 0 else str(Path.home())}


def program(name: str) -> str | None:
    """The absolute path of a program of the system, None where it is missing."""
    return shutil.which(name, path=SYSTEM_PATH)


def check_programs(kind: Literal["namespaces", "loopback"]) -> None:
    """Raise MissingPackage, its hint the exact command, unless all programs for a lab of this kind are here."""
    wanted = _PROGRAMS_ALWAYS | (_PROGRAMS_NAMESPACES if kind == "namespaces" else {})
    missing = {name: package for name, package in wanted.items() if program(name) is None}
    if missing:
        raise missing_packages(missing)


def missing_packages(missing: dict[str, str]) -> MissingPackage:
    """The error for programs (→ packages) that are not on this machine."""
    sudo = "" if os.getuid() == 0 else "sudo "
    packages = " ".join(sorted(set(missing.values())))
    return MissingPackage(
        f"not on this machine: {', '.join(sorted(missing))}",
        hint=f"{sudo}apt-get install -y --no-install-recommends {packages}",
    )


def choose_kind(wanted: Literal["auto", "namespaces", "loopback"]) -> tuple[Literal["namespaces", "loopback"], str]:
    """The kind of lab to build here, and why, for people. SKERRY_LAB decides where the caller leaves it open."""
    if wanted == "auto":
        named = os.environ.get("SKERRY_LAB", "auto")
        match named:
            case "namespaces" | "loopback":
                return named, f"SKERRY_LAB={named}"
            case "auto":
                pass
            case _:
                raise UsageError(f"SKERRY_LAB must be namespaces, loopback or auto, not {named!r}")
        refusal = why_no_namespaces()
        if not refusal:
            return "namespaces", ""
        return "loopback", f"this machine allows no namespaces ({refusal}), so hosts are loopback addresses"
    return wanted, ""


def why_no_namespaces() -> str:
    """Empty where a lab in namespaces can be built here, else the reason."""
    missing = {name: package for name, package in _PROGRAMS_NAMESPACES.items() if program(name) is None}
    if missing:
        # Not a reason to build a lesser lab: the packages are a command away.
        raise missing_packages(missing)
    tried = subprocess.run(
        [*namespace_words(), "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=bare_environment(),
        timeout=20,
        check=False,
    )
    return "" if tried.returncode == 0 else tried.stderr.strip() or f"unshare ended with {tried.returncode}"


def namespace_words() -> list[str]:
    """What begins a command that is to run as root in namespaces of its own; a user namespace where we are not root."""
    user = [] if os.getuid() == 0 else ["-U", "-r"]
    return ["unshare", *user, *_NAMESPACE_OPTIONS, "-i", "-u", "--kill-child=SIGKILL"]


def daemon_words(kind: Literal["namespaces", "loopback"], folder: Path, listener: int) -> list[str]:
    """The command that is the lab: its daemon, on the system's Python without site-packages."""
    package_root = str(Path(__file__).resolve().parents[2])
    begin = "import sys; sys.path[:0] = [sys.argv.pop(1)]; from orchestrator.lab.daemon import main; main(sys.argv[1:])"
    python = [SYSTEM_PYTHON, "-S", "-E", "-B", "-c", begin, package_root, kind, str(folder), str(listener)]
    return [*namespace_words(), *python] if kind == "namespaces" else python


@dataclass(frozen=True)
class Process:
    """A process that is never mistaken for a later one with the same number: it is known by when it started, too."""

    pid: int
    started_ticks: int

    @staticmethod
    def of(pid: int) -> "Process":
        """The process of this number as it is now. Raises LabError where there is none."""
        ticks, _ = _stat(pid)
        if ticks is None:
            raise LabError(f"process {pid} has ended")
        return Process(pid, ticks)

    def lives(self) -> bool:
        """False for zombies too: they hold no file, no socket, no mount."""
        ticks, state = _stat(self.pid)
        return ticks == self.started_ticks and state not in ("Z", "X")

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens to a process that has ended."""
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                # Asked after the descriptor is held, so the number cannot change hands in between.
                if self.lives():
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)

    def children(self) -> list["Process"]:
        """Its children of this moment."""
        try:
            numbers = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except OSError:
            return []
        found = []
        for number in numbers:
            with contextlib.suppress(LabError):
                found.append(Process.of(int(number)))
        return found


def leftovers(folder: Path) -> list[Process]:
    """Processes of a loopback lab whose daemon was killed: their environment or command line names the lab's folder."""
    marker = f"SKERRY_LAB_FOLDER={folder}\0".encode()
    in_words = f"{folder}/hosts/".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError, LabError):
            words = (entry / "cmdline").read_bytes()
            is_sshd = words.startswith(b"sshd: ") and in_words in words
            if is_sshd or marker in (entry / "environ").read_bytes() + b"\0":
                found.append(Process.of(int(entry.name)))
    return found


def _stat(pid: int) -> tuple[int | None, str]:
    """Start time in clock ticks and state letter; (None, "") where there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None, ""
    return int(fields[19]), fields[0]
