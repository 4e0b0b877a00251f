"""The first copy of a file tree, proved at both ends, beside the tools people would use."""

import os
import random
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.dataplane_hosts import MIB, ROUNDS, SSH, Bench, bench_hosts, beside, medians
from benchmarks.row import BenchmarkFailed
from orchestrator.model.dataset import FileTree
from orchestrator.steps.still_data import digest_while_copying

COMMAND = "TMPDIR=/dev/shm make bench BENCH=dataplane_tree"  # six GiB lie in memory: disks would tell of disks
TREE_FILES = int(os.environ.get("SKERRY_BENCH_TREE_FILES", "20000"))
TREE_MIB = int(os.environ.get("SKERRY_BENCH_TREE_MIB", "2048"))
FOLDERS = 400
DIFFERS = "the tree at the replica differs from its source"
TREE = FileTree(name="tree", path="/srv/bench/tree", changes="replaced")
Deed = tuple[Callable[[], None], Callable[[], Any]]


def make_tree(top: Path, files: int, mebibytes: int) -> None:
    """Files of log-normal sizes in 400 folders, every content its own."""
    chosen = random.Random(1)
    sizes = [chosen.lognormvariate(0, 1.5) for _ in range(files)]
    scale = mebibytes * MIB / sum(sizes)
    folders = [top / f"d{number % 16:02d}" / f"s{number // 16:03d}" for number in range(FOLDERS)]
    for folder in folders:
        folder.mkdir(parents=True)
    for number, size in enumerate(sizes):
        content = chosen.randbytes(max(16, int(size * scale)))
        (folders[number % FOLDERS] / f"f{number:06d}").write_bytes(content)


def what() -> str:
    return f"tree of {TREE_FILES} files, {TREE_MIB} MiB"


def verify(bench: Bench) -> None:
    """Each end's own digest; both are made at the same time, as hosts that are two would."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        made = pool.map(lambda host: bench.trees.digest(TREE, host).digest, (bench.source, bench.replica))
    if len(set(made)) != 1:
        raise BenchmarkFailed(DIFFERS)


def copy_and_prove(bench: Bench) -> None:
    """As a recovery point does it: the source is digested while it is copied, the replica when it has all."""
    _, here = digest_while_copying(
        partial(bench.trees.digest, TREE, bench.source),
        partial(bench.trees.copy, TREE, bench.source, bench.replica),
    )
    if bench.trees.digest(TREE, bench.replica).digest != here.digest:
        raise BenchmarkFailed(DIFFERS)


def nothing() -> None:
    """A deed that needs no preparation."""


def anew(bench: Bench, *names: str) -> Callable[[], None]:
    """Nothing of these at the replica."""
    places = " ".join(shlex.quote(f"/srv/bench/{name}") for name in names)
    return lambda: bench.run(f"rm -rf {places}")


def rsync_alone(bench: Bench) -> Deed:
    address = bench.source.address
    rsync = f"rsync -aHAX --delete -W -e '{SSH}' {address}:{TREE.path}/ /srv/bench/peer/"
    return anew(bench, "peer"), lambda: bench.run(rsync)


def prepared(bench: Bench) -> Deed:
    """The tree at the source, and the copy of it that everything else is held to."""
    make_tree(bench.at_source(TREE.path), TREE_FILES, TREE_MIB)
    return anew(bench, "tree", ".skerry-points"), lambda: copy_and_prove(bench)


def rows() -> list[dict[str, Any]]:
    with bench_hosts() as bench:
        ours = prepared(bench)
        found = medians(ROUNDS, {"ours": ours, "rsync": rsync_alone(bench)})
    name, peer_name = f"{what()}: first copy with SHA-256 at both ends", "rsync -aHAX, aes128-gcm, no proof"
    return [beside(name, found, "rsync", peer_name, COMMAND, times_as_long=1.4)]
