"""The data plane beside the tools people would use: images, trees and digests between two hosts of the lab.

Both hosts are on this machine, so the ratios count, not the seconds; every round measures ours and the peers one after
the other, so that what else the machine does falls on all of them.
"""

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.row import BenchmarkFailed, row
from orchestrator.foundation.clock import SystemClock
from orchestrator.hosts.certificates import CertifiedAccess
from orchestrator.hosts.ssh import SshTransports, open_transports
from orchestrator.lab.blueprint import LabHost, PlacedFile
from orchestrator.lab.town import Town, open_town
from orchestrator.model.dataset import BlockVolume, FileTree
from orchestrator.movers.block_volume import BlockVolumeMover
from orchestrator.movers.file_tree import FileTreeMover
from orchestrator.movers.tree_digests import PROGRAM as TREE_PROGRAM
from orchestrator.snapshots.stores import HostPointStores

COMMAND = "python -m benchmarks.run dataplane"
MIB = 1 << 20
ROUNDS = int(os.environ.get("SKERRY_BENCH_ROUNDS", "5"))
IMAGE_MIB = int(os.environ.get("SKERRY_BENCH_IMAGE_MIB", "4096"))
TREE_FILES = int(os.environ.get("SKERRY_BENCH_TREE_FILES", "20000"))
TREE_MIB = int(os.environ.get("SKERRY_BENCH_TREE_MIB", "2048"))
SMALL_FILES = int(os.environ.get("SKERRY_BENCH_SMALL_FILES", "200000"))
KEY = "/root/bench/key"
SSH = f"ssh -F none -i {KEY} -o UserKnownHostsFile=/root/bench/known -o LogLevel=ERROR -c aes128-gcm@openssh.com"


class Bench:
    """Two hosts, our movers over them, and a key by which the peers reach the source from the replica."""

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

    def give_key(self, folder: Path) -> None:
        key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        words = ["ssh-keygen", "-q", "-s", str(self.town.user_ca), "-I", "bench", "-n", "root,deploy", f"{key}.pub"]
        subprocess.run(words, check=True)
        known = self.town.known_hosts.read_bytes()
        names = {KEY: key, f"{KEY}.pub": folder / "key.pub", f"{KEY}-cert.pub": folder / "key-cert.pub"}
        files = {name: PlacedFile(path.read_bytes(), 0o600) for name, path in names.items()}
        self.town.place("dr-a", {**files, "/root/bench/known": PlacedFile(known)})


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
    return {name: statistics.median(values) for name, values in taken.items()}


def make_image(path: Path, mebibytes: int) -> int:
    """An image, half of it holes in runs of 1 to 64 MiB; gives back the bytes of data."""
    chosen = random.Random(7)
    data = position = 0
    with path.open("wb") as stream:
        stream.truncate(mebibytes * MIB)
        while position < mebibytes:
            run = min(chosen.randint(1, 64), mebibytes - position)
            if data * 2 <= position:
                stream.seek(position * MIB)
                for _ in range(run):
                    stream.write(chosen.randbytes(MIB))
                data += run
            position += run
    return data * MIB


def touch_pages(path: Path, share: float) -> int:
    """Write that share of the 4 KiB pages that hold data, at random; gives back the bytes."""
    with path.open("r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        pages: list[int] = []
        position = 0
        while position < size:
            try:
                start = os.lseek(stream.fileno(), position, os.SEEK_DATA)
            except OSError:
                break
            position = os.lseek(stream.fileno(), start, os.SEEK_HOLE)
            pages += range(start // 4096, position // 4096)
        chosen = random.sample(pages, int(len(pages) * share))
        for page in chosen:
            os.pwrite(stream.fileno(), os.urandom(4096), page * 4096)
    return len(chosen) * 4096


def make_tree(top: Path, files: int, mebibytes: int) -> None:
    """Files of log-normal sizes in 400 folders, every content its own."""
    chosen = random.Random(1)
    sizes = [chosen.lognormvariate(0, 1.5) for _ in range(files)]
    scale = mebibytes * MIB / sum(sizes)
    blob = chosen.randbytes(64 * MIB)
    for number in range(400):
        (top / f"d{number % 16:02d}" / f"s{number // 16:03d}").mkdir(parents=True, exist_ok=True)
    for number, size in enumerate(sizes):
        length = max(16, int(size * scale))
        folder = top / f"d{number % 400 % 16:02d}" / f"s{number % 400 // 16:03d}"
        start = chosen.randrange(0, 32 * MIB)
        with (folder / f"f{number:06d}").open("wb") as stream:
            stream.write(number.to_bytes(8, "little"))
            left = length - 8
            while left > 0:
                piece = blob[start : start + min(left, 32 * MIB)]
                stream.write(piece)
                left -= len(piece)


def hash_for(count: int) -> int:
    """SHA-256 over `count` MiB that lie in the cache; what one core can do at most."""
    block = memoryview(os.urandom(MIB))
    made = hashlib.sha256()
    for _ in range(count):
        made.update(block)
    return made.digest()[0]


def machine_sha256_mib_per_second() -> float:
    cores = len(os.sched_getaffinity(0))
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        pool.map(hash_for, [64] * cores)
        begin = time.perf_counter()
        pool.map(hash_for, [1024] * cores)
        return 1024 * cores / (time.perf_counter() - begin)


VOLUME = BlockVolume(name="disk", path="/srv/bench/disk.img")
RSYNC = f"rsync -e '{SSH}'"


def first_copies(bench: Bench, data: int) -> dict[str, float]:
    """Seconds of a first copy: ours, rsync at its quickest, and cat of as much data without holes."""
    dense = bench.at_source("/srv/bench/dense.img")
    with dense.open("wb") as stream:
        for _ in range(data // MIB):
            stream.write(os.urandom(MIB))
    address = bench.source.address

    def fresh(name: str) -> Callable[[], None]:
        return lambda: bench.run(f"rm -rf /srv/bench/{name} /srv/bench/.skerry-points/{name}.volume")

    pull = f"{RSYNC} -W --inplace {address}:{VOLUME.path} /srv/bench/r.img"
    cat = f"{SSH} {address} cat /srv/bench/dense.img > /srv/bench/c.img"
    found = medians(
        ROUNDS,
        {
            "ours": (fresh("disk.img"), lambda: bench.volumes.copy(VOLUME, bench.source, bench.replica)),
            "rsync": (fresh("r.img"), lambda: bench.run(pull)),
            "cat": (fresh("c.img"), lambda: bench.run(cat)),
        },
    )
    fresh("c.img")()
    dense.unlink()
    return found


def delta_copies(bench: Bench, image: Path) -> tuple[dict[str, float], float]:
    """Seconds after 1 % of the pages changed, and what ours put on the wire beside those pages."""
    bench.run("cp --sparse=always /srv/bench/r.img /srv/bench/r4.img")
    shares: list[float] = []
    delta = f"{RSYNC} --inplace --no-whole-file {{}} {bench.source.address}:{VOLUME.path} /srv/bench/"
    taken: dict[str, list[float]] = {"ours": [], "rsync": [], "rsync 4096": []}
    for _ in range(ROUNDS):
        changed = touch_pages(image, 0.01)
        begin = time.perf_counter()
        report = bench.volumes.copy(VOLUME, bench.source, bench.replica)
        taken["ours"].append(time.perf_counter() - begin)
        shares.append(report.bytes_wire / changed)
        taken["rsync"].append(seconds(lambda: bench.run(delta.format("") + "r.img")))
        taken["rsync 4096"].append(seconds(lambda: bench.run(delta.format("-B 4096") + "r4.img")))
    if bench.volumes.differences(VOLUME, bench.source, bench.replica):
        raise BenchmarkFailed("the image at the replica differs from its source")
    return {name: statistics.median(values) for name, values in taken.items()}, statistics.median(shares)


def versus(name: str, found: dict[str, float], peer: str, peer_name: str, factor: float) -> dict[str, Any]:
    """A row of seconds whose goal is to be `factor` times as fast as the peer."""
    return row(
        name,
        ours=found["ours"],
        peer=found[peer],
        peer_name=peer_name,
        unit="s",
        goal=f"{factor:g} times as fast",
        met=found[peer] / found["ours"] >= factor,
        command=COMMAND,
    )


def image_rows(bench: Bench) -> list[dict[str, Any]]:
    image = bench.at_source(VOLUME.path)
    image.parent.mkdir(parents=True)
    bench.at_replica("/srv/bench").mkdir(parents=True)
    data = make_image(image, IMAGE_MIB)
    first = first_copies(bench, data)
    delta, share = delta_copies(bench, image)
    what = f"image of {IMAGE_MIB} MiB, {data // MIB} MiB of data"
    digests = "digests at both ends"
    return [
        versus(f"{what}: first copy, {digests}", first, "rsync", "rsync -W --inplace, aes128-gcm", 1.6),
        versus(f"{what}: first copy, {digests}, beside cat", first, "cat", "ssh cat of the data alone", 0.85),
        versus(f"{what}: 1 % of pages changed", delta, "rsync", "rsync --inplace --no-whole-file", 3.0),
        versus(f"{what}: 1 % of pages changed, -B 4096", delta, "rsync 4096", "rsync -B 4096", 1.7),
        row(
            f"{what}: 1 % of pages changed, on the wire",
            ours=share,
            peer=1.0,
            peer_name="the changed pages",
            unit="times",
            goal="at most 1.15",
            met=share <= 1.15,
            command=COMMAND,
        ),
    ]


def tree_rows(bench: Bench) -> list[dict[str, Any]]:
    tree = FileTree(name="tree", path="/srv/bench/tree", changes="replaced")
    make_tree(bench.at_source(tree.path), TREE_FILES, TREE_MIB)
    address = bench.source.address
    rsync = f"rsync -aHAX --delete -W -e '{SSH}' {address}:/srv/bench/tree/ /srv/bench/peer/"

    def copy_and_prove() -> None:
        bench.trees.copy(tree, bench.source, bench.replica)
        one = bench.trees.digest(tree, bench.source).digest
        if one != bench.trees.digest(tree, bench.replica).digest:
            raise BenchmarkFailed("the tree at the replica differs from its source")

    found = medians(
        ROUNDS,
        {
            "ours": (lambda: bench.run("rm -rf /srv/bench/tree /srv/bench/.skerry-points"), copy_and_prove),
            "rsync": (lambda: bench.run("rm -rf /srv/bench/peer"), lambda: bench.run(rsync)),
            "tar": (
                lambda: bench.run("rm -rf /srv/bench/tar; mkdir /srv/bench/tar"),
                lambda: bench.run(f"{SSH} {address} tar -C /srv/bench/tree -cf - . | tar -C /srv/bench/tar -xf -"),
            ),
        },
    )
    digested = statistics.median(bench.trees.digest(tree, bench.replica).seconds for _ in range(ROUNDS))
    ceiling = machine_sha256_mib_per_second()
    compare = rsync.replace("-aHAX", "-aHAXnc")
    compared = statistics.median(seconds(lambda: bench.run(compare)) for _ in range(max(1, ROUNDS // 2)))
    what, rate = f"tree of {TREE_FILES} files, {TREE_MIB} MiB", TREE_MIB / digested
    return [
        row(
            f"{what}: first copy with SHA-256 at both ends",
            ours=found["ours"],
            peer=found["rsync"],
            peer_name="rsync -aHAX, aes128-gcm, no proof",
            unit="s",
            goal="at most 1.4 times as long",
            met=found["ours"] <= 1.4 * found["rsync"],
            command=COMMAND,
        ),
        row(
            f"{what}: first copy, beside tar",
            ours=found["ours"],
            peer=found["tar"],
            peer_name="tar over ssh, no proof",
            unit="s",
            command=COMMAND,
        ),
        row(
            f"{what}: digest, warm",
            ours=rate,
            peer=ceiling,
            peer_name="SHA-256 from the cache, all cores",
            unit="MiB/s",
            goal="at least 0.85",
            met=rate >= 0.85 * ceiling,
            command=COMMAND,
        ),
        row(
            f"{what}: digests of both ends, one after the other",
            ours=2 * digested,
            peer=compared,
            peer_name="rsync -c, xxh128, both ends",
            unit="s",
            command=COMMAND,
        ),
    ]


def small_rows(bench: Bench) -> list[dict[str, Any]]:
    tree = FileTree(name="small", path="/srv/bench/small", changes="replaced")
    top = bench.at_source(tree.path)
    for number in range(SMALL_FILES):
        if number % 1000 == 0:
            (top / f"d{number // 1000:03d}").mkdir(parents=True)
        (top / f"d{number // 1000:03d}" / f"f{number:06d}").write_bytes(b"%d" % number * 20)
    bench.trees.copy(tree, bench.source, bench.replica)
    rsync = f"rsync -aHAX --delete -W -e '{SSH}' {bench.source.address}:/srv/bench/small/ /srv/bench/small/"
    found = medians(
        ROUNDS,
        {
            "ours": (lambda: None, lambda: bench.trees.copy(tree, bench.source, bench.replica)),
            "rsync": (lambda: None, lambda: bench.run(rsync)),
        },
    )
    digested = seconds(lambda: bench.trees.digest(tree, bench.source))
    return [
        row(
            f"tree of {SMALL_FILES} small files: pass without a change",
            ours=found["ours"],
            peer=found["rsync"],
            peer_name="rsync -aHAX, aes128-gcm",
            unit="s",
            goal="at most 1.1 times as long",
            met=found["ours"] <= 1.1 * found["rsync"],
            command=COMMAND,
        ),
        row(f"tree of {SMALL_FILES} small files: digest", ours=digested, unit="s", command=COMMAND),
    ]


def memory_row(top: Path, what: str) -> dict[str, Any]:
    """The most that any process of a digest held, beside 200 MiB."""
    script = (
        "import resource, subprocess, sys;"
        f" subprocess.run(sys.argv[1:], stdin=open({str(TREE_PROGRAM)!r}), check=True, stdout=subprocess.DEVNULL);"
        " print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    words = [sys.executable, "-c", script, "python3", "-I", "-S", "-", json.dumps({"path": str(top)})]
    done = subprocess.run(words, capture_output=True, check=True)
    mebibytes = int(done.stdout) * 1024 / MIB
    return row(
        f"{what}: memory of the digest's largest process",
        ours=mebibytes,
        unit="MiB",
        goal="below 200 MiB",
        met=mebibytes < 200,
        command=COMMAND,
    )


def rows() -> list[dict[str, Any]]:
    folder = Path(tempfile.mkdtemp(prefix="skerry-bench-"))
    town = open_town(folder / "lab")
    town.up([LabHost("onprem-a", "onprem", "10.10.1.11"), LabHost("dr-a", "dr", "10.20.1.11")])
    try:
        with open_transports(town.ssh_config, folder / "run", None) as transports:
            bench = Bench(town, transports)
            bench.give_key(folder)
            out = image_rows(bench)
            shutil.rmtree(bench.at_source("/srv/bench"))
            bench.run("rm -rf /srv/bench/* /srv/bench/.skerry-points")
            out += tree_rows(bench)
            out.append(memory_row(bench.at_source("/srv/bench/tree"), f"tree of {TREE_FILES} files"))
            shutil.rmtree(bench.at_source("/srv/bench"))
            bench.run("rm -rf /srv/bench/* /srv/bench/.skerry-points")
            out += small_rows(bench)
            out.append(memory_row(bench.at_source("/srv/bench/small"), f"tree of {SMALL_FILES} files"))
            return out
    finally:
        town.down()
        shutil.rmtree(folder, ignore_errors=True)
