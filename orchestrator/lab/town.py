"""The lab as its users hold it: a town of hosts on three sites, run by a daemon that outlives who started it.

Rules: everything a lab is lies below its folder; every process belongs to the daemon; whoever kills the daemon has
ended the lab. A Town object is only a hand on the daemon: any number of processes may hold one, also within the lab.
"""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from orchestrator.contracts.transport import CommandResult
from orchestrator.foundation.errors import LabError
from orchestrator.lab import machine, wire
from orchestrator.lab.blueprint import (
    CONTROLLER_SITE,
    LabHost,
    PlacedFile,
    address_in,
    files_as_json,
    host_as_json,
    placed,
    router_of,
)
from orchestrator.lab.daemon_life import end_daemon, is_dying, one_at_a_time, recorded_kind, start_daemon
from orchestrator.lab.faults import Fault, must_be_possible
from orchestrator.model.host import Host

REQUEST_SECONDS_MAX = 60.0

Kind = Literal["namespaces", "loopback"]


class Town:
    """A lab in one folder. All methods but `up` raise LabError when the lab is not up."""

    def __init__(self, folder: Path, kind: Kind, why: str) -> None:
        self.folder = folder
        self.kind: Kind = kind
        self.why = why  # why this kind, for people; "" where there was nothing to decide

    # -- where things are

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`: every host by name and by address, reached from outside the lab's network."""
        return self.folder / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        """One plain key line per host."""
        return self.folder / "known_hosts"

    @property
    def user_ca(self) -> Path:
        """The private key of the CA whose user certificates all hosts accept; `.pub` beside it."""
        return self.folder / "pki" / "user_ca"

    @property
    def operator_key(self) -> Path:
        """A key with a certificate (`-cert.pub` beside it) that opens every host."""
        return self.folder / "pki" / "operator"

    @property
    def controller_address(self) -> str:
        """Where processes of the lab (cloud, DNS) are reached by its hosts."""
        return self.address(router_of(CONTROLLER_SITE))

    def address(self, address: str) -> str:
        """A 10.x address as it is called in a lab of this kind."""
        return address_in(self.kind, address)

    def path_on_machine(self, name: str, path: str) -> Path:
        """Where `path` of a host lies on this machine: below /etc, /var, /srv, /opt, /home and /root of that host."""
        return self.folder / "hosts" / name / "root" / path.lstrip("/")

    # -- life

    def is_up(self) -> bool:
        """Whether the daemon answers."""
        try:
            self._ask("ping", seconds_max=5.0)
        except LabError:
            return False
        return True

    def up(self, hosts: Sequence[LabHost]) -> None:
        """Bring the lab up with at least these hosts; returns when each answers SSH.

        A lab that is up keeps what it has; a host that is powered off stays off. What a killed lab left is swept first.
        """
        machine.check_programs(self.kind)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        wanted = [host_as_json(host) for host in hosts]
        seconds_max = REQUEST_SECONDS_MAX + 5 * len(wanted)
        with one_at_a_time(self.folder):
            if self.is_up():
                try:
                    self._ask("up", hosts=wanted, seconds_max=seconds_max)
                except LabError:
                    # Its answer counts, unless it was killed a moment ago and this was its last word.
                    if not is_dying(self.folder):
                        raise
                else:
                    if not is_dying(self.folder):
                        return
            self._end()
            start_daemon(self.folder, self.kind, self.is_up)
            try:
                self._ask("up", hosts=wanted, seconds_max=seconds_max)
            except BaseException:
                self._end()
                raise

    def down(self) -> None:
        """End every process of the lab and return when they are gone. The hosts' files stay. Twice is once."""
        if not self.folder.is_dir():
            return
        with one_at_a_time(self.folder):
            self._end()

    def _end(self) -> None:
        with suppress(LabError):
            self._ask("farewell", seconds_max=5.0)
        end_daemon(self.folder)

    def status(self) -> dict[str, Any]:
        """{"up", "kind", "why", "folder", "hosts": [{name, site, address, port, power, …}], "faults", "processes"}."""
        own = {"kind": self.kind, "why": self.why, "folder": str(self.folder)}
        try:
            return {"up": True, **own, **self._ask("status")}
        except LabError:
            return {"up": False, **own, "hosts": [], "faults": [], "processes": []}

    # -- hosts

    def hosts(self) -> dict[str, Host]:
        """Every host as an inventory would name it, powered off ones included."""
        return {row["name"]: Host(**row["inventory"]) for row in self._ask("status")["hosts"]}

    def add_host(
        self, host: LabHost, *, files: Mapping[str, bytes] | None = None, disks: Mapping[str, Path] | None = None
    ) -> None:
        """Make and boot a host; returns when it answers SSH. A host that exists is left as it is, but powered on.

        `files`: path on the host → content, executable where it begins with `#!`. `disks`: name below /dev → image.
        """
        self._ask(
            "add_host",
            host=host_as_json(host),
            files=files_as_json({path: placed(content) for path, content in (files or {}).items()}),
            disks={name: str(Path(path).absolute()) for name, path in (disks or {}).items()},
        )

    def remove_host(self, name: str) -> None:
        """Power a host off and forget it, its files included. A missing host is removed already."""
        self._ask("remove_host", name=name)

    def power_off(self, name: str) -> None:
        """Cut the power: every process of the host is gone when this returns; its files stay."""
        self._ask("power_off", name=name)

    def power_on(self, name: str) -> None:
        """Boot; returns when the host answers SSH. Enabled units start."""
        self._ask("power_on", name=name)

    def host_key(self, name: str) -> str:
        """The host's SSH public key line (`ssh-ed25519 AAAA…`), as its console would print it."""
        return str(self._ask("host_key", name=name))

    def place(self, name: str, files: Mapping[str, PlacedFile]) -> None:
        """Write files into a host, running or not, as root."""
        self._ask("place", name=name, files=files_as_json(files))

    def run_inside(
        self,
        name: str,
        words: Sequence[str],
        *,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float = 60.0,
        check: bool = True,
    ) -> CommandResult:
        """Run `words` as root within a host, without SSH. Raises LabError on failure where `check`, and on time-out."""
        started = time.monotonic()
        streams = [os.memfd_create(stream) for stream in ("stdin", "stdout", "stderr")]
        try:
            with open(streams[0], "wb", closefd=False) as stream:
                stream.write(stdin)
            os.lseek(streams[0], 0, os.SEEK_SET)
            code = self._ask(
                "run_inside",
                name=name,
                words=list(words),
                environment=dict(environment or {}),
                timeout_seconds=timeout_seconds,
                descriptors=streams,
                seconds_max=timeout_seconds + 10,
            )
            stdout, stderr = (_whole(descriptor) for descriptor in streams[1:])
        finally:
            for descriptor in streams:
                os.close(descriptor)
        if code is None:
            raise LabError(f"{name}: {words[0]} did not end within {timeout_seconds:g} s")
        if check and code:
            said = (stderr or stdout).decode(errors="replace").strip()[-2000:]
            raise LabError(f"{name}: {' '.join(words)} ended with {code}: {said}")
        return CommandResult(exit_code=code, stdout=stdout, stderr=stderr, seconds=time.monotonic() - started)

    # -- processes and sockets of the lab itself

    def spawn(
        self,
        words: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: Path,
        sockets: Sequence[socket.socket] = (),
    ) -> int:
        """Start a process in the lab's network (not in a host); it ends with the lab. Returns its number in the lab.

        It inherits `sockets`; their descriptor numbers stand in SKERRY_LAB_SOCKETS, separated by commas. Both streams
        are appended to `log`. `env` is added to a bare environment.
        """
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return int(
                self._ask(
                    "spawn",
                    words=list(words),
                    environment=dict(env or {}),
                    descriptors=[descriptor, *(each.fileno() for each in sockets)],
                )
            )
        finally:
            os.close(descriptor)

    def stop_spawned(self, number: int, *, seconds_max: float = 5.0) -> None:
        """End a process of `spawn` and its group: SIGTERM, then SIGKILL. One that has ended is ended already."""
        self._ask("stop_spawned", number=number, wait_seconds=seconds_max, seconds_max=seconds_max + 10)

    def listen_outside(self, port: int = 0, *, address: str = "127.0.0.1") -> socket.socket:
        """A listening socket in the network of the caller, to be handed to `spawn`. Port 0 is any free one."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(128)
        except OSError as error:
            listener.close()
            raise LabError(f"cannot listen at {address}:{port}: {error.strerror}") from error
        return listener

    def listen_inside(
        self, port: int, *, address: str | None = None, transport: Literal["tcp", "udp"] = "tcp"
    ) -> socket.socket:
        """A bound socket in the lab's network, at the controller's address unless told; TCP ones listen."""
        _, descriptors = self._ask_with_descriptors(
            "listen_inside", address=address or self.controller_address, port=port, transport=transport
        )
        return socket.socket(fileno=descriptors[0])

    def connect(self, host: str, port: int) -> socket.socket:
        """A TCP connection made within the lab's network. `host` is a host's name or an address of the lab."""
        _, descriptors = self._ask_with_descriptors("connect", host=host, port=port)
        connection = socket.socket(fileno=descriptors[0])
        connection.settimeout(None)
        return connection

    # -- trouble

    def put_fault(self, fault: Fault) -> None:
        """Make the fault so, until it is healed. The same fault with another amount replaces the first."""
        must_be_possible(fault, self.kind)
        self._ask("put_fault", fault=fault.as_json())

    def heal(self, fault: Fault | str | None = None) -> list[str]:
        """End one fault (or the one of that name), or all. Returns the names of what was healed."""
        name = fault.name if isinstance(fault, Fault) else fault
        return list(self._ask("heal", name=name))

    def faults(self) -> list[Fault]:
        return [Fault.from_json(row) for row in self._ask("status")["faults"]]

    # -- the daemon

    def _ask(self, verb: str, *, seconds_max: float = REQUEST_SECONDS_MAX, **arguments: Any) -> Any:
        answer, descriptors = self._ask_with_descriptors(verb, seconds_max=seconds_max, **arguments)
        for descriptor in descriptors:
            os.close(descriptor)
        return answer

    def _ask_with_descriptors(
        self, verb: str, *, seconds_max: float = REQUEST_SECONDS_MAX, descriptors: Sequence[int] = (), **arguments: Any
    ) -> tuple[Any, list[int]]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds_max)
            try:
                with wire.short_path(self.folder) as path:
                    connection.connect(path)
                wire.send(connection, {"do": verb, **arguments}, descriptors)
                answer, received = wire.receive(connection)
            except TimeoutError as error:
                raise LabError(f"the lab in {self.folder} did not answer {verb!r} in {seconds_max:g} s") from error
            except OSError as error:
                raise LabError(
                    f"the lab in {self.folder} is not up ({error.strerror or error})", hint="Start it: skerry lab up"
                ) from error
        if "error" in answer:
            raise wire.error_from_json(answer["error"])
        return answer["ok"], received


def open_town(folder: Path, *, kind: Literal["auto", "namespaces", "loopback"] = "auto") -> Town:
    """The lab of `folder`, up or not. `auto`: the kind that is up, else SKERRY_LAB, else what this machine can."""
    folder = folder.absolute()
    kind_there = recorded_kind(folder) if kind == "auto" else None
    if kind_there is not None:
        running = Town(folder, kind_there, "")
        if running.is_up():
            return running
    chosen, why = machine.choose_kind(kind)
    return Town(folder, chosen, why)


def _whole(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as stream:
        return stream.read()
