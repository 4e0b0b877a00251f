"""Verification of a file tree that lies in memory, beside what the machine can hash and the tools people would use."""

import hashlib
import multiprocessing
import os
import statistics
from functools import partial
from typing import Any

from benchmarks.dataplane_hosts import MIB, ROUNDS, SSH, Bench, bench_hosts, beside, medians, seconds
from benchmarks.dataplane_tree import TREE, TREE_FILES, TREE_MIB, Deed, make_tree, nothing, verify, what
from benchmarks.row import row

COMMAND = "make bench BENCH=dataplane_verify"
HASHED_MIB = 1024
READ_BYTES = 128 * 1024
NAMES = {
    "rsync -c": "rsync -c: xxh128, which proves nothing against intent",
    "b3sum": "b3sum of both ends: content alone",
}


def hash_for(count: int) -> int:
    """SHA-256 over `count` MiB that lie in the cache; what one core can do at most."""
    block = memoryview(os.urandom(MIB))
    made = hashlib.sha256()
    for _ in range(count):
        made.update(block)
    return made.digest()[0]


def read_and_hash(paths: list[str]) -> int:
    """Open, read, hash, close, and nothing else: neither owners nor times nor names."""
    buffer = bytearray(READ_BYTES)
    view = memoryview(buffer)
    total = 0
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        made = hashlib.sha256()
        while count := os.readv(descriptor, (buffer,)):
            made.update(view[:count])
            total += count
            if count < READ_BYTES:
                break
        made.digest()
        os.close(descriptor)
    return total


def rates(bench: Bench) -> tuple[float, float, float]:
    """MiB/s of all cores: the digest; SHA-256 alone; SHA-256 over the tree's files by a loop that does nothing else."""
    cores = len(os.sched_getaffinity(0))
    paths = [str(path) for path in bench.at_replica(TREE.path).rglob("*") if path.is_file()]
    shares = [paths[number::cores] for number in range(cores)]
    ours, alone, looped = [], [], []
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        pool.map(hash_for, [64] * cores, chunksize=1)
        for _ in range(ROUNDS):
            ours.append(TREE_MIB / bench.trees.digest(TREE, bench.replica).seconds)
            alone.append(HASHED_MIB * cores / seconds(lambda: pool.map(hash_for, [HASHED_MIB] * cores, chunksize=1)))
            looped.append(TREE_MIB / seconds(lambda: pool.map(read_and_hash, shares, chunksize=1)))
    return statistics.median(ours), statistics.median(alone), statistics.median(looped)


def peers(bench: Bench) -> dict[str, str]:
    address = bench.source.address
    listed = f"cd {TREE.path}; find . -type f -print0 | LC_ALL=C sort -z | xargs -0 b3sum | sha256sum"
    return {
        "rsync -c": f"rsync -aHAXnc --delete -e '{SSH}' {address}:{TREE.path}/ {TREE.path}/",
        "b3sum": f'{SSH} {address} "{listed}" > /srv/bench/there & ({listed}) > /srv/bench/here; wait;'
        " cmp /srv/bench/here /srv/bench/there",
    }


def rows() -> list[dict[str, Any]]:
    with bench_hosts() as bench:
        make_tree(bench.at_source(TREE.path), TREE_FILES, TREE_MIB)
        bench.trees.copy(TREE, bench.source, bench.replica)
        verify(bench)
        rate, alone, looped = rates(bench)
        deeds: dict[str, Deed] = {"ours": (nothing, partial(verify, bench))}
        deeds |= {name: (nothing, partial(bench.run, script)) for name, script in peers(bench).items()}
        found = medians(ROUNDS, deeds)
    digest, both = f"{what()}: digest, warm", f"{what()}: verification of both ends"
    of_rate = partial(row, ours=rate, unit="MiB/s", command=COMMAND)
    return [
        of_rate(
            digest,
            peer=alone,
            peer_name="SHA-256 over one MiB in the cache, all cores",
            goal="at least 0.85",
            met=rate >= 0.85 * alone,
        ),
        of_rate(
            f"{digest}, beside open, read and SHA-256 alone",
            peer=looped,
            peer_name="a loop that does nothing else, all cores",
        ),
        *(beside(f"{both}, beside {peer}", found, peer, name, COMMAND) for peer, name in NAMES.items()),
    ]
