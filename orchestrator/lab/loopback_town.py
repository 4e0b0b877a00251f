"""The ground of loopback addresses: one sshd per host at 127.x:2222, a folder per host, everything else shared.

For machines that forbid user namespaces. A host's processes are known by their environment (SKERRY_LAB_HOST), which all
of them inherit from its sshd or its units.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.foundation.errors import LabError
from orchestrator.lab.blueprint import address_in
from orchestrator.lab.faults import Fault
from orchestrator.lab.ground import HostRecord, Launch
from orchestrator.lab.host_files import HostStyle, host_environment, ssh_port
from orchestrator.lab.machine import Process

HALT_SECONDS_MAX = 10.0
# sshd as root insists on this folder; ordinary users' does not. Removed again with the lab.
PRIVILEGE_SEPARATION_FOLDER = Path("/run/sshd")


class LoopbackGround:
    """See ground.Ground."""

    def __init__(self, style: HostStyle) -> None:
        self._style = style
        self._made_privilege_folder = False
        self._on: set[str] = set()

    def prepare(self) -> None:
        if self._style.is_root and not PRIVILEGE_SEPARATION_FOLDER.exists():
            PRIVILEGE_SEPARATION_FOLDER.mkdir(mode=0o755)
            self._made_privilege_folder = True

    def attach(self, record: HostRecord) -> None:
        address, port = address_in("loopback", record.host.address), ssh_port("loopback", record.host)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise LabError(
                    f"{address}:{port}, which is to be {record.name}, is taken: {error.strerror}",
                    hint="Only one loopback lab can be up on a machine. End the other one: skerry lab down",
                ) from error

    def detach(self, record: HostRecord) -> None:
        """Nothing: an address of 127/8 belongs to nobody."""

    def boot(self, record: HostRecord) -> None:
        # What a boot empties on a machine.
        for name in ("run/systemd/lab-units",):
            states = record.tree / name
            for path in states.iterdir() if states.is_dir() else []:
                path.unlink()
        launch = self._launch(record, [str(record.tree / "opt/lab/bin/systemctl"), "boot"], {})
        with (record.tree.parent / "console.log").open("ab") as console:
            done = subprocess.run(
                launch.words,
                env=dict(launch.environment),
                cwd=launch.folder,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                timeout=60,
                check=False,
            )
        if done.returncode:
            raise LabError(f"{record.name} did not boot", hint=f"See {record.tree.parent / 'console.log'}")
        self._on.add(record.name)

    def halt(self, record: HostRecord) -> None:
        self._on.discard(record.name)
        deadline = time.monotonic() + HALT_SECONDS_MAX
        while processes := self._processes(record):
            for process in processes:
                process.signal(signal.SIGKILL)
            if time.monotonic() > deadline:
                raise LabError(f"{record.name}: processes do not end: {[process.pid for process in processes]}")
            time.sleep(0.005)

    def is_on(self, record: HostRecord) -> bool:
        return record.name in self._on

    def launch(self, record: HostRecord, words: Sequence[str], environment: Mapping[str, str]) -> Launch:
        if not self.is_on(record):
            raise LabError(f"{record.name} is powered off", hint="skerry lab heal, or power it on first")
        return self._launch(record, words, environment)

    def _launch(self, record: HostRecord, words: Sequence[str], environment: Mapping[str, str]) -> Launch:
        own = host_environment(record.tree, record.name, self._style)
        home = {"HOME": str(record.tree / "root"), "LANG": "C.UTF-8"}
        return Launch(words, {**home, **own, **environment}, str(record.tree))

    def signal_all(self, record: HostRecord, number: int) -> None:
        if not self.is_on(record):
            raise LabError(f"{record.name} is powered off")
        for process in self._processes(record):
            process.signal(number)

    def set_faults(self, faults: Sequence[Fault]) -> None:
        """Nothing: there is no network to break."""

    def end(self) -> None:
        if self._made_privilege_folder:
            with contextlib.suppress(OSError):
                PRIVILEGE_SEPARATION_FOLDER.rmdir()

    def _processes(self, record: HostRecord) -> list[Process]:
        """Those with the host in their environment, its sshd (whose title covers its own), and their children."""
        marker = f"SKERRY_LAB_PREFIX={record.tree}\0".encode()
        in_title = f"-f {record.tree}/etc/ssh/sshd_config".encode()
        found: set[int] = set()
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError, IndexError):
                    pid = int(entry.name)
                    parents[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    words = (entry / "cmdline").read_bytes()
                    is_sshd = words.startswith(b"sshd: ") and in_title in words
                    if is_sshd or marker in (entry / "environ").read_bytes() + b"\0":
                        found.add(pid)
        grown = True
        while grown:
            children = {pid for pid, parent in parents.items() if parent in found} - found
            found |= children
            grown = bool(children)
        processes = []
        for pid in sorted(found):
            with contextlib.suppress(LabError):
                process = Process.of(pid)
                if process.lives():
                    processes.append(process)
        return processes
