"""File trees between two hosts of the lab, beside the tools people would use: copies, passes, digests, memory."""

import hashlib
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.dataplane_hosts import MIB, ROUNDS, SSH, Bench, bench_hosts, medians, seconds
from benchmarks.row import BenchmarkFailed, row
from orchestrator.contracts.programs import program_text
from orchestrator.model.dataset import FileTree
from orchestrator.movers.tree_digests import PROGRAM as TREE_PROGRAM

COMMAND = "make bench BENCH=dataplane_tree"
TREE_FILES = int(os.environ.get("SKERRY_BENCH_TREE_FILES", "20000"))
TREE_MIB = int(os.environ.get("SKERRY_BENCH_TREE_MIB", "2048"))
SMALL_FILES = int(os.environ.get("SKERRY_BENCH_SMALL_FILES", "200000"))


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
        " subprocess.run(sys.argv[1:], stdin=sys.stdin, check=True, stdout=subprocess.DEVNULL);"
        " print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    words = [sys.executable, "-c", script, "python3", "-I", "-S", "-", json.dumps({"path": str(top)})]
    done = subprocess.run(words, input=program_text(TREE_PROGRAM), capture_output=True, check=True)
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
    with bench_hosts() as bench:
        out = tree_rows(bench)
        out.append(memory_row(bench.at_source("/srv/bench/tree"), f"tree of {TREE_FILES} files"))
        bench.clear()
        out += small_rows(bench)
        out.append(memory_row(bench.at_source("/srv/bench/small"), f"tree of {SMALL_FILES} files"))
        return out
