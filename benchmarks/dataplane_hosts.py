"""Two hosts of the lab between which the data plane is measured, and what its benchmarks share.

Both hosts are on this machine, so the ratios count, not the seconds; every round measures ours and the peers one after
the other, so that what else the machine does falls on all of them.
"""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.row import BenchmarkFailed, row
from orchestrator.foundation.clock import SystemClock
from orchestrator.hosts.certificates import CertifiedAccess
from orchestrator.hosts.ssh import SshTransports, open_transports
from orchestrator.lab.blueprint import LabHost, PlacedFile
from orchestrator.lab.town import Town, open_town
from orchestrator.movers.block_volume import BlockVolumeMover
from orchestrator.movers.file_tree import FileTreeMover
from orchestrator.snapshots.stores import HostPointStores

MIB = 1 << 20
ROUNDS = int(os.environ.get("SKERRY_BENCH_ROUNDS", "5"))
KEY = "/root/bench/key"
SSH = f"ssh -F none -i {KEY} -o UserKnownHostsFile=/root/bench/known -o LogLevel=ERROR -c aes128-gcm@openssh.com"
RSYNC = f"rsync -e '{SSH}'"


class Bench:
    """Two hosts, our movers over them, and a key by which the peers on each reach the other."""

    def __init__(self, town: Town, transports: SshTransports) -> None:
        self.town = town
        self.transports = transports
        self.source = town.hosts()["onprem-a"]
        self.replica = town.hosts()["dr-a"]
        access = CertifiedAccess(transports, town.user_ca)
        self.trees = FileTreeMover(transports, access, HostPointStores(transports, SystemClock()))
        self.volumes = BlockVolumeMover(transports, access, HostPointStores(transports, SystemClock()))

    def at_source(self, path: str) -> Path:
        return self.town.path_on_machine("onprem-a", path)

    def at_replica(self, path: str) -> Path:
        return self.town.path_on_machine("dr-a", path)

    def run(self, script: str) -> None:
        """A shell line on the replica's host, as root."""
        self.transports(self.replica).run(["sh", "-ec", script], user="root", timeout_seconds=600)

    def run_at_source(self, script: str) -> None:
        self.transports(self.source).run(["sh", "-ec", script], user="root", timeout_seconds=600)

    def clear(self) -> None:
        """Nothing of a benchmark on either host."""
        for top in (self.at_source("/srv/bench"), self.at_replica("/srv/bench")):
            shutil.rmtree(top)
            top.mkdir()

    def give_key(self, folder: Path) -> None:
        key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        words = ["ssh-keygen", "-q", "-s", str(self.town.user_ca), "-I", "bench", "-n", "root,deploy", f"{key}.pub"]
        subprocess.run(words, check=True)
        known = self.town.known_hosts.read_bytes()
        names = {KEY: key, f"{KEY}.pub": folder / "key.pub", f"{KEY}-cert.pub": folder / "key-cert.pub"}
        files = {name: PlacedFile(path.read_bytes(), 0o600) for name, path in names.items()}
        for name in ("onprem-a", "dr-a"):
            self.town.place(name, {**files, "/root/bench/known": PlacedFile(known)})


def seconds(deed: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    deed()
    return time.perf_counter() - begin


def medians(rounds: int, deeds: dict[str, tuple[Callable[[], None], Callable[[], Any]]]) -> dict[str, float]:
    """Median seconds of each deed over rounds of all of them; each is (preparation, what is timed)."""
    taken: dict[str, list[float]] = {name: [] for name in deeds}
    for _ in range(rounds):
        for name, (prepare, deed) in deeds.items():
            prepare()
            os.sync()
            taken[name].append(seconds(deed))
    return middle(taken)


def middle(taken: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in taken.items()}


def beside(
    name: str,
    found: dict[str, float],
    peer: str,
    peer_name: str,
    command: str,
    *,
    times_as_fast: float | None = None,
    times_as_long: float | None = None,
) -> dict[str, Any]:
    """A row of seconds beside a peer's; its goal is to be so many times as fast, or to take so many times as long at
    most, or there is only something to know.
    """
    goal, met = "", None
    if times_as_fast is not None:
        goal, met = f"{times_as_fast:g} times as fast", found[peer] / found["ours"] >= times_as_fast
    elif times_as_long is not None:
        goal, met = f"at most {times_as_long:g} times as long", found["ours"] <= times_as_long * found[peer]
    ours, theirs = found["ours"], found[peer]
    return row(name, ours=ours, peer=theirs, peer_name=peer_name, unit="s", goal=goal, met=met, command=command)


def wire_row(name: str, share: float, command: str) -> dict[str, Any]:
    """What went over the wire beside the pages that changed."""
    goal, met, peer = "at most 1.15", share <= 1.15, "the changed pages"
    return row(
        f"{name}, on the wire", ours=share, peer=1.0, peer_name=peer, unit="times", goal=goal, met=met, command=command
    )


@contextmanager
def bench_hosts(**disks_gib: int) -> Iterator[Bench]:
    """The two hosts, up, with nothing on them; gone afterwards.

    `xfs=20` gives each a file system of that kind and size, at most, at /srv/bench/xfs.
    """
    folder = Path(tempfile.mkdtemp(prefix="skerry-bench-"))
    town = open_town(folder / "lab")
    mounted: list[Path] = []
    try:
        for name in ("onprem-a", "dr-a"):
            town.path_on_machine(name, "/srv/bench").mkdir(parents=True)
            for kind, size in disks_gib.items():
                mounted.append(town.path_on_machine(name, f"/srv/bench/{kind}"))
                mount_disk(folder / f"{name}.{kind}", kind, size, mounted[-1])
        # Hosts see what is mounted before the lab begins.
        town.up([LabHost("onprem-a", "onprem", "10.10.1.11"), LabHost("dr-a", "dr", "10.20.1.11")])
        with open_transports(town.ssh_config, folder / "run", None) as transports:
            bench = Bench(town, transports)
            bench.give_key(folder)
            yield bench
    finally:
        town.down()
        for top in mounted:
            subprocess.run(["umount", str(top)], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def mount_disk(image: Path, kind: str, size_gib: int, top: Path) -> None:
    with image.open("wb") as stream:
        stream.truncate(size_gib << 30)
    top.mkdir()
    for words in ([f"mkfs.{kind}", "-q", str(image)], ["mount", "-o", "loop", str(image), str(top)]):
        done = subprocess.run(words, capture_output=True, check=False)
        if done.returncode:
            raise BenchmarkFailed(f"{' '.join(words)}: {done.stderr.decode(errors='replace').strip()} (it needs root)")
