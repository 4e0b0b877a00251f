"""The lab's daemon: it owns every process of the lab, keeps the list of hosts and faults, and answers Town.

Runs on the system's bare Python, in the lab's namespaces where there are any. Two processes: the first reaps what
others leave behind (as the first process of a pid namespace must) and takes the lab with it when it ends; the second
serves.
"""

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.foundation.errors import LabError, OrchestratorError
from orchestrator.lab import wire
from orchestrator.lab.blueprint import LabHost, address_in, files_from_json, host_from_json
from orchestrator.lab.client_files import write_client_files
from orchestrator.lab.faults import Fault, must_be_possible
from orchestrator.lab.faults_in_force import FaultsInForce
from orchestrator.lab.ground import Ground, HostRecord
from orchestrator.lab.host_files import HostStyle, ssh_port, write_files, write_host, write_host_names
from orchestrator.lab.loopback_town import LoopbackGround
from orchestrator.lab.machine import bare_environment
from orchestrator.lab.namespace_town import NamespaceGround
from orchestrator.lab.pki import make_lab_keys, public_key

SSH_SECONDS_MAX = 20.0
CONNECT_SECONDS_MAX = 10.0
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
HOST_KEY_FILE = "etc/ssh/ssh_host_ed25519_key"

Answer = tuple[Any, list[int]]


class Daemon:
    """The verbs of the lab. Changes are made one at a time; waiting for a host's SSH is done beside them."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._kind = kind
        self._folder = folder
        self._style = host_style(kind)
        self._ground: Ground = (
            LoopbackGround(self._style) if kind == "loopback" else NamespaceGround(self._style, folder / "daemon.log")
        )
        self._hosts: dict[str, HostRecord] = {}
        self._faults = FaultsInForce(self._ground, self._record)
        self._spawned: dict[int, tuple[subprocess.Popen[bytes], list[str]]] = {}
        self._changing = threading.RLock()
        self._verbs: dict[str, Callable[[dict[str, Any], list[int]], Answer]] = {
            "ping": lambda _message, _descriptors: (True, []),
            "up": self._up,
            "farewell": self._farewell,
            "status": self._status,
            "add_host": self._add_host,
            "remove_host": self._remove_host,
            "power_off": self._power_off,
            "power_on": self._power_on,
            "host_key": lambda message, _: (public_key(self._record(message["name"]).tree / HOST_KEY_FILE), []),
            "place": self._place,
            "run_inside": self._run_inside,
            "spawn": self._spawn,
            "stop_spawned": self._stop_spawned,
            "listen_inside": self._listen_inside,
            "connect": self._connect,
            "put_fault": self._put_fault,
            "heal": self._heal,
        }

    def prepare(self) -> None:
        make_lab_keys(self._folder / "pki", sorted({"root", "deploy", self._style.login}))
        self._ground.prepare()
        self._write_names()

    def serve(self, listener: socket.socket) -> None:
        """Answer for ever, each asker in a thread of its own."""
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        descriptors: list[int] = []
        given: list[int] = []
        with connection:
            try:
                message, descriptors = wire.receive(connection)
                try:
                    answer, given = self._verbs[message["do"]](message, descriptors)
                    reply = {"ok": answer}
                except LabError as error:
                    reply = wire.error_as_json(error)
                except (OrchestratorError, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
                    what = f"{message.get('do')}: {type(error).__name__}: {error}"
                    print(what, file=sys.stderr, flush=True)
                    reply = wire.error_as_json(LabError(what))
                wire.send(connection, reply, given)
            except ConnectionError:
                return  # the asker has gone; what it asked for is done
            finally:
                for descriptor in (*descriptors, *given):
                    os.close(descriptor)

    # -- hosts

    def _record(self, name: str) -> HostRecord:
        record = self._hosts.get(name)
        if record is None:
            raise LabError(f"the lab has no host {name!r}; there are {', '.join(self._hosts) or 'none'}")
        return record

    def _make(self, host: LabHost) -> HostRecord:
        """Files and network of a host; a host that exists is left as it is."""
        record = self._hosts.get(host.name)
        if record is not None:
            if record.host.address != host.address:
                raise LabError(f"{host.name} is at {record.host.address} in this lab, not at {host.address}")
            return record
        for other in self._hosts.values():
            if other.host.address == host.address:
                raise LabError(f"{host.address} is {other.name} in this lab; {host.name} cannot have it too")
        record = HostRecord(host, self._folder / "hosts" / host.name / "root")
        write_host(record.tree, host, self._style, public_key(self._folder / "pki" / "user_ca"))
        self._ground.attach(record)
        self._hosts[host.name] = record
        return record

    def _up(self, message: dict[str, Any], _: list[int]) -> Answer:
        hosts = [host_from_json(value) for value in message["hosts"]]
        with self._changing:
            records = [self._make(host) for host in hosts]
            self._write_names()
            booted = [record for record in records if record.wanted_on and not self._ground.is_on(record)]
            for record in booted:
                self._ground.boot(record)
        for record in booted:
            self._await_ssh(record)
        return True, []

    def _add_host(self, message: dict[str, Any], _: list[int]) -> Answer:
        host = host_from_json(message["host"])
        with self._changing:
            is_new = host.name not in self._hosts
            record = self._make(host)
            if is_new:
                record.disks = dict(message["disks"])
                write_files(record.tree, files_from_json(message["files"]))
                self._write_names()
        return self._power_on({"name": host.name}, [])

    def _remove_host(self, message: dict[str, Any], _: list[int]) -> Answer:
        with self._changing:
            record = self._hosts.get(message["name"])
            if record is not None:
                self._ground.halt(record)
                self._ground.detach(record)
                del self._hosts[record.name]
                self._faults.forget_host(record.name)
                shutil.rmtree(record.tree.parent)
                self._write_names()
        return True, []

    def _power_off(self, message: dict[str, Any], _: list[int]) -> Answer:
        with self._changing:
            record = self._record(message["name"])
            record.wanted_on = False
            self._ground.halt(record)
            self._faults.forget_by_reboot(record.name)
        return True, []

    def _power_on(self, message: dict[str, Any], _: list[int]) -> Answer:
        with self._changing:
            record = self._record(message["name"])
            record.wanted_on = True
            self._faults.forget_power_off(record.name)
            if not self._ground.is_on(record):
                self._ground.boot(record)
        self._await_ssh(record)
        return True, []

    def _await_ssh(self, record: HostRecord) -> None:
        deadline = time.monotonic() + SSH_SECONDS_MAX
        where = (address_in(self._kind, record.host.address), ssh_port(self._kind, record.host))
        while True:
            try:
                with socket.create_connection(where, timeout=1.0) as connection:
                    if connection.recv(4) == b"SSH-":
                        return
            except OSError as error:
                why = str(error)
            else:
                why = "it closed the connection"
            if time.monotonic() > deadline or not self._ground.is_on(record):
                console = record.tree.parent / "console.log"
                said = console.read_text(errors="replace").strip().splitlines()[-3:] if console.exists() else []
                raise LabError(f"{record.name} does not answer SSH: {why} {' / '.join(said)}", hint=f"See {console}")
            time.sleep(0.005)

    def _place(self, message: dict[str, Any], _: list[int]) -> Answer:
        write_files(self._record(message["name"]).tree, files_from_json(message["files"]))
        return True, []

    def _run_inside(self, message: dict[str, Any], descriptors: list[int]) -> Answer:
        record = self._record(message["name"])
        launch = self._ground.launch(record, message["words"], message["environment"])
        process = subprocess.Popen(
            launch.words,
            env=dict(launch.environment),
            cwd=launch.folder,
            stdin=descriptors[0],
            stdout=descriptors[1],
            stderr=descriptors[2],
            start_new_session=True,
        )
        try:
            return process.wait(timeout=message["timeout_seconds"]), []
        except subprocess.TimeoutExpired:
            # The group: what nsenter started is its child, and would live on.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None, []

    # -- what is written for people and programs outside

    def _write_names(self) -> None:
        """Every host's /etc/hosts, and what ssh needs outside."""
        hosts = [record.host for record in self._hosts.values()]
        names = [(address_in(self._kind, host.address), host.name) for host in hosts]
        for record in self._hosts.values():
            write_host_names(record.tree, names)
        write_client_files(self._folder, self._style, list(self._hosts.values()))

    def _status(self, _: dict[str, Any], __: list[int]) -> Answer:
        with self._changing:
            hosts = [self._host_status(record) for record in self._hosts.values()]
            faults = [fault.as_json() for fault in self._faults.all()]
            processes = [
                {"number": number, "words": words, "running": process.poll() is None, "exit_code": process.returncode}
                for number, (process, words) in self._spawned.items()
            ]
        return {"hosts": hosts, "faults": faults, "processes": processes}, []

    def _host_status(self, record: HostRecord) -> dict[str, Any]:
        loopback = self._kind == "loopback"
        inventory = {
            "name": record.name,
            "site": record.host.site,
            "address": address_in(self._kind, record.host.address),
            "port": ssh_port(self._kind, record.host),
            "user": self._style.login,
            "path_prefix": str(record.tree) if loopback else "",
            "become": not loopback or self._style.is_root,
        }
        power = "on" if self._ground.is_on(record) else "off"
        return {key: inventory[key] for key in ("name", "site", "address", "port")} | {
            "power": power,
            "inventory": inventory,
        }

    # -- processes and sockets in the lab's network

    def _spawn(self, message: dict[str, Any], descriptors: list[int]) -> Answer:
        log, *sockets = descriptors
        numbers = ",".join(str(number) for number in sockets)
        marker = {"SKERRY_LAB_FOLDER": str(self._folder)} if self._kind == "loopback" else {}
        process = subprocess.Popen(
            message["words"],
            env=bare_environment() | {"SKERRY_LAB_SOCKETS": numbers} | marker | message["environment"],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=sockets,
            start_new_session=True,
        )
        with self._changing:
            self._spawned[process.pid] = (process, message["words"])
        return process.pid, []

    def _stop_spawned(self, message: dict[str, Any], _: list[int]) -> Answer:
        with self._changing:
            process, _words = self._spawned.pop(message["number"], (None, None))
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            # All of its group: a child may hold the port a moment longer than its parent lives.
            deadline = time.monotonic() + message["wait_seconds"]
            with contextlib.suppress(ProcessLookupError):
                while time.monotonic() < deadline:
                    process.poll()
                    os.killpg(process.pid, 0)
                    time.sleep(0.005)
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return True, []

    def _listen_inside(self, message: dict[str, Any], _: list[int]) -> Answer:
        is_tcp = message["transport"] == "tcp"
        where = (message["address"], message["port"])
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM) as bound:
            try:
                if is_tcp:
                    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                bound.bind(where)
                if is_tcp:
                    bound.listen(128)
            except OSError as error:
                raise LabError(f"cannot listen at {where[0]}:{where[1]} in the lab: {error.strerror}") from error
            return True, [bound.detach()]

    def _connect(self, message: dict[str, Any], _: list[int]) -> Answer:
        name, port = message["host"], message["port"]
        record = self._hosts.get(name)
        address = address_in(self._kind, record.host.address) if record else name
        try:
            socket.inet_aton(address)
            with socket.create_connection((address, port), timeout=CONNECT_SECONDS_MAX) as connection:
                connection.settimeout(None)
                return True, [connection.detach()]
        except OSError as error:
            raise LabError(f"no connection to {name} port {port} in the lab: {error.strerror or error}") from error

    # -- faults

    def _put_fault(self, message: dict[str, Any], _: list[int]) -> Answer:
        fault = Fault.from_json(message["fault"])
        must_be_possible(fault, self._kind)
        with self._changing:
            if fault.kind == "power-off":
                self._power_off({"name": fault.where[0]}, [])
            self._faults.put(fault)
        return True, []

    def _heal(self, message: dict[str, Any], _: list[int]) -> Answer:
        with self._changing:
            healed = self._faults.heal(message["name"])
        for fault in healed:
            if fault.kind == "power-off":
                self._power_on({"name": fault.where[0]}, [])
            elif fault.kind == "no-ssh":
                self._await_ssh(self._record(fault.where[0]))
        return [fault.name for fault in healed], []

    # -- the end

    def _farewell(self, _: dict[str, Any], __: list[int]) -> Answer:
        """Before the lab is killed: connections held outside learn of it, and nothing outside the folder stays."""
        with self._changing:
            self._ground.set_faults(())
            for record in self._hosts.values():
                self._ground.halt(record)
            for process, _words in self._spawned.values():
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            self._ground.end()
        return True, []


def host_style(kind: str) -> HostStyle:
    is_root = os.getuid() == 0
    if kind == "loopback":
        return HostStyle(kind, one_user_id=False, is_root=is_root, login=pwd.getpwuid(os.getuid()).pw_name)
    one_user_id = Path("/proc/self/uid_map").read_text().split()[2] == "1"
    return HostStyle(kind, one_user_id=one_user_id, is_root=True, login="deploy" if one_user_id else "root")


def reap_until(child: int) -> int:
    """Reap whatever ends until `child` does; its exit code."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def main(words: list[str]) -> None:
    """`KIND FOLDER LISTENER`: be the lab."""
    kind, folder, listener = words[0], Path(words[1]), int(words[2])
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    # Where there is no pid namespace, what loses its parent comes to us instead of leaving the lab.
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = os.fork()
    if child:
        os.close(listener)
        sys.exit(reap_until(child))
    prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    os.umask(0o022)
    daemon = Daemon(kind, folder)
    daemon.prepare()
    with socket.socket(fileno=listener) as bound:
        bound.set_inheritable(False)
        daemon.serve(bound)
