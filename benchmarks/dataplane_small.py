"""A tree of very many small files: a pass in which nothing changed."""

import os
from pathlib import Path
from typing import Any

from benchmarks.dataplane_hosts import ROUNDS, SSH, Bench, bench_hosts, beside, medians, seconds
from benchmarks.row import row
from orchestrator.model.dataset import FileTree

COMMAND = "make bench BENCH=dataplane_small"
PASS_FILES = int(os.environ.get("SKERRY_BENCH_SMALL_FILES", "200000"))
SMALL = FileTree(name="small", path="/srv/bench/small", changes="replaced")


def make_small_files(top: Path, files: int) -> None:
    for number in range(files):
        if number % 1000 == 0:
            (top / f"d{number // 1000:04d}").mkdir(parents=True)
        (top / f"d{number // 1000:04d}" / f"f{number:07d}").write_bytes(b"%d" % number * 20)


def pass_rows(bench: Bench) -> list[dict[str, Any]]:
    bench.trees.copy(SMALL, bench.source, bench.replica)
    rsync = f"rsync -aHAX --delete -W -e '{SSH}' {bench.source.address}:{SMALL.path}/ {SMALL.path}/"
    found = medians(
        ROUNDS,
        {
            "ours": (lambda: None, lambda: bench.trees.copy(SMALL, bench.source, bench.replica)),
            "rsync": (lambda: None, lambda: bench.run(rsync)),
        },
    )
    what = f"tree of {PASS_FILES} small files"
    digest = seconds(lambda: bench.trees.digest(SMALL, bench.source))
    return [
        beside(f"{what}: pass without a change", found, "rsync", "rsync -aHAX, aes128-gcm", COMMAND, times_as_long=1.1),
        row(f"{what}: digest", ours=digest, unit="s", command=COMMAND),
    ]


def rows() -> list[dict[str, Any]]:
    with bench_hosts() as bench:
        make_small_files(bench.at_source(SMALL.path), PASS_FILES)
        return pass_rows(bench)
