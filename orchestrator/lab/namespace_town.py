"""The ground of namespaces: each host a root, a network and process numbers of its own; the lab itself is their router.

Runs within the lab's own user, network, mount and pid namespaces: nothing made here outlives the lab's first process.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.foundation.errors import LabError
from orchestrator.lab import traffic_shaping
from orchestrator.lab.blueprint import SITE_OCTETS, router_of
from orchestrator.lab.faults import Fault
from orchestrator.lab.ground import HostRecord, Launch
from orchestrator.lab.host_files import HostStyle, host_environment
from orchestrator.lab.machine import SYSTEM_PATH, SYSTEM_PYTHON, bare_environment

CLONE_NEWNET = 0x40000000
BOOT_SECONDS_MAX = 10.0
HALT_SECONDS_MAX = 10.0

_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceGround:
    """See ground.Ground."""

    def __init__(self, style: HostStyle, log: Path) -> None:
        self._style = style
        self._log = log
        self._networks: dict[str, int] = {}  # host → descriptor that holds its network namespace
        self._cables: dict[str, str] = {}  # host → the lab's end of its cable
        self._cables_made = 0
        self._cut: set[str] = set()  # hosts whose cable is pulled
        self._launchers: dict[str, subprocess.Popen[bytes]] = {}
        self._shaping = traffic_shaping.Shaping(run, self._start_pump)

    def prepare(self) -> None:
        for name in ("all", "default"):
            _write_rule(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "1")
        _write_rule("/proc/sys/net/ipv4/ip_forward", "1")
        lines = ["link set lo up"]
        for site in SITE_OCTETS:
            # The router's leg is a cable of its own: a slow line can be put between it and the bridge.
            lines += [
                f"link add br-{site} type bridge",
                f"link add gw-{site} type veth peer name bq-{site}",
                f"link set bq-{site} master br-{site} up",
                f"link set br-{site} up",
                f"addr add {router_of(site)}/16 dev gw-{site}",
                f"link set gw-{site} up",
            ]
        run(["ip", "-b", "-"], stdin="\n".join(lines) + "\n")

    def attach(self, record: HostRecord) -> None:
        host = record.host
        self._cables_made += 1
        cable = f"h{self._cables_made}"  # interface names hold 15 characters, names of hosts 63
        network = _new_network()
        try:
            run(
                ["ip", "-b", "-"],
                stdin=f"link add {cable} type veth peer name eth0 netns /proc/{os.getpid()}/fd/{network}\n"
                f"link set {cable} master br-{host.site} up\n",
            )
            within = (
                f"link set lo up\naddr add {host.address}/16 dev eth0\nlink set eth0 up\n"
                f"route add default via {router_of(host.site)}\n"
            )
            run(["nsenter", f"--net=/proc/{os.getpid()}/fd/{network}", "ip", "-b", "-"], stdin=within)
        except LabError:
            os.close(network)
            raise
        self._networks[host.name], self._cables[host.name] = network, cable

    def detach(self, record: HostRecord) -> None:
        network = self._networks.pop(record.name, None)
        if network is not None:
            # The cable goes with its other end.
            run(["ip", "link", "del", self._cables.pop(record.name)])
            self._cut.discard(record.name)
            os.close(network)

    def boot(self, record: HostRecord) -> None:
        folder = record.tree.parent
        (folder / "mount").mkdir(exist_ok=True)
        spec = {
            "name": record.name,
            "files": str(record.tree),
            "mount": str(folder / "mount"),
            "disks": record.disks,
            "one_user_id": self._style.one_user_id,
            "path": f"/opt/lab/bin:{SYSTEM_PATH}",
        }
        network = self._networks[record.name]
        with (folder / "console.log").open("ab") as console:
            self._launchers[record.name] = subprocess.Popen(
                ["nsenter", f"--net=/proc/self/fd/{network}", "unshare", "-m", "-p", "-u", "-i", "-f",
                 "--kill-child=SIGKILL", SYSTEM_PYTHON, "-S", "-E", "-B",
                 str(Path(__file__).with_name("host_root.py")), json.dumps(spec)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=bare_environment(),
                start_new_session=True,
                pass_fds=[network],
            )  # fmt: skip

    def halt(self, record: HostRecord) -> None:
        launcher = self._launchers.pop(record.name, None)
        if launcher is None:
            return
        with contextlib.suppress(LabError):
            # The host's first process takes all others with it, and is gone only when they are.
            os.kill(self._first_process(launcher, record.name, wait=False), signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            launcher.wait(timeout=HALT_SECONDS_MAX)
        launcher.kill()
        launcher.wait()

    def is_on(self, record: HostRecord) -> bool:
        launcher = self._launchers.get(record.name)
        return launcher is not None and launcher.poll() is None

    def launch(self, record: HostRecord, words: Sequence[str], environment: Mapping[str, str]) -> Launch:
        launcher = self._launchers.get(record.name)
        if launcher is None:
            raise LabError(f"{record.name} is powered off", hint="skerry lab heal, or power it on first")
        pid = self._first_process(launcher, record.name, wait=True)
        enter = ["nsenter", "-t", str(pid), "-n", "-m", "-p", "-u", "-i", "-r", "-w", "--"]
        own = host_environment(record.tree, record.name, self._style)
        return Launch([*enter, *words], {"HOME": "/root", "USER": "root", "LANG": "C.UTF-8", **own, **environment}, "/")

    def signal_all(self, record: HostRecord, number: int) -> None:
        launch = self.launch(record, ["/bin/sh", "-c", f"kill -{number} -1"], {})
        run(list(launch.words))

    def set_faults(self, faults: Sequence[Fault]) -> None:
        self._shaping.apply(faults)
        cut = {fault.where[0] for fault in faults if fault.kind == "cut-cable"}
        for name in cut ^ self._cut:
            run(["ip", "link", "set", self._cables[name], "down" if name in cut else "up"])
        if self._cut - cut:
            # Otherwise the router remembers for a second that the host does not answer.
            run(["ip", "neigh", "flush", "all"])
        self._cut = cut

    def end(self) -> None:
        self._shaping.apply(())

    def _start_pump(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=bare_environment()
            )

    def _first_process(self, launcher: subprocess.Popen[bytes], name: str, *, wait: bool) -> int:
        """The host's pid 1, as numbered in the lab. It has entered its root when its name is no longer Python's."""
        deadline = time.monotonic() + (BOOT_SECONDS_MAX if wait else 0)
        while True:
            children = _text(f"/proc/{launcher.pid}/task/{launcher.pid}/children").split()
            if children and (not wait or not _text(f"/proc/{children[0]}/comm").startswith(("python", "unshare"))):
                return int(children[0])
            if launcher.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"{name} has no first process: it is off, or still booting")
            time.sleep(0.002)


def _new_network() -> int:
    """A new network namespace, held by the returned descriptor. A thread makes it and ends; we stay where we are."""
    made: list[int] = []

    def make() -> None:
        if _libc.unshare(CLONE_NEWNET) == 0:
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        else:
            made.append(-ctypes.get_errno())

    maker = threading.Thread(target=make)
    maker.start()
    maker.join()
    if made[0] < 0:
        raise LabError(f"no network for another host: {os.strerror(-made[0])}")
    return made[0]


def run(words: Sequence[str], *, stdin: str = "") -> str:
    """Run a program of the system; LabError with what it said when it fails."""
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, env=bare_environment(), timeout=60, check=False
    )
    if done.returncode:
        raise LabError(f"{' '.join(words)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _write_rule(path: str, value: str) -> None:
    rule = Path(path)
    if rule.exists():
        rule.write_text(value)


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
