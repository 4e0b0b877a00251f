"""From a held point to a service that answers in a bubble, whatever the size of its data; and replication meanwhile.

Drills of the lab's system as `skerry drill bubble` does them. The data beyond its filings are files beside its
attachments, on both hosts from the beginning, so that no round has to send them: a drill does not care how they came.
What a drill proves before it starts anything (isolation, and every byte of the data) is measured, but is no part of
the way from clone to service. All hosts of the lab share the processors of this machine, DR's bubble with the source.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.row import BenchmarkFailed, below, row
from orchestrator.lab import estate_town
from orchestrator.lab.demo.units import ATTACHMENTS
from orchestrator.lab.town import Town
from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.site import Side
from orchestrator.movers.postgres.cluster_host import ClusterHost
from orchestrator.movers.postgres.lsn import parse_lsn
from orchestrator.operations.desk import Desk, open_desk
from orchestrator.operations.migrate import new_run_id
from orchestrator.operations.replication import Override, recording
from orchestrator.operations.standing import complain_of_rounds, run_rounds, when_free
from orchestrator.operations.survey import survey_estate
from orchestrator.steps.bubble_drill import BubbleDriller
from orchestrator.steps.bubble_result import BubbleDrill

SYSTEM = "filing"
FILINGS = 1000
SMALL_GB, LARGE_GB = (int(word) for word in os.environ.get("SKERRY_BENCH_DRILL_GB", "1,20").split(","))
DRILLS, DRILLS_LARGE, PAIRS = 3, 2, 3
GOAL_RATIO, GOAL_SECONDS, GOAL_REPLICATION = 1.3, 15.0, 0.9
BLOCK_BYTES = 50_000_000
ALONE_SECONDS = 8.0
STEADY_BYTES_PER_SECOND = 10_000_000
WRITE = "insert into bench select g, repeat(md5(g::text), 30) from generate_series(1, 2000) g"  # some 2.2 MB of log
TRUNCATE_EVERY = 20
SECONDS_MAX = 1800.0
AGAIN = "make bench BENCH=drill"


def rows() -> list[dict[str, Any]]:
    found = measure()
    small, large = (statistics.median(found[size]) for size in ("small", "large"))
    answering = statistics.median(found["answering"])
    told = [
        row(
            f"drill: clone to service with {LARGE_GB} GB ({found['how']})",
            ours=large,
            peer=small,
            peer_name=f"with {SMALL_GB} GB",
            unit="s",
            goal=f"<= {GOAL_RATIO:g} x",
            met=large <= GOAL_RATIO * small,
            command=AGAIN,
        ),
        below("drill: start to isolated service answering", answering, "s", GOAL_SECONDS, command=AGAIN),
    ]
    for size, key in ((SMALL_GB, "small_whole"), (LARGE_GB, "large_whole")):
        name = f"drill: the same with {size} GB, all of it read back first"
        told.append(row(name, ours=statistics.median(found[key]), unit="s", command=AGAIN))
    for key, load in (("steady", "a steady load"), ("busy", "all that one writer can write")):
        alone, drilled = (statistics.median(found[key][when]) for when in ("alone", "drilled"))
        told.append(
            row(
                f"drill: replication meanwhile, {load}",
                ours=drilled,
                peer=alone,
                peer_name="without a drill",
                unit="MB/s",
                goal=f">= {GOAL_REPLICATION:g} x",
                met=drilled >= GOAL_REPLICATION * alone,
                command=AGAIN,
            )
        )
    return told


def measure() -> dict[str, Any]:
    """In a process of its own, with a lab of its own that leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="skerry-bench-") as home:
        environment = {**os.environ, "SKERRY_HOME": home}
        words = [sys.executable, "-m", "benchmarks.drill"]
        try:
            ended = subprocess.run(
                words, stdout=subprocess.PIPE, text=True, env=environment, timeout=SECONDS_MAX, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BenchmarkFailed(f"the drills did not end within {SECONDS_MAX:g} s") from error
        finally:
            skerry = str(Path(sys.executable).parent / "skerry")
            subprocess.run([skerry, "lab", "down", "--purge"], capture_output=True, env=environment, check=False)
    if ended.returncode:
        raise BenchmarkFailed(f"the drills ended with {ended.returncode}; their words are above")
    measured: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return measured


# --- in the process of the measurement


def carry_out() -> dict[str, Any]:
    """Seconds of drills by the size of the data, and MB/s of replication alone and while drills go on."""
    town = estate_town.open_lab()
    estate_town.up(town, filings=FILINGS, documents=1)
    found: dict[str, Any] = {}
    with open_desk(estate_town.lab_inventory()) as desk:
        estate_town.claim_source(desk.inventory, desk.authority)
        survey_estate(desk.inventory, desk.survey, desk.catalogue, on_host=lambda _: None)
        point(desk)
        drills = [drill(desk) for _ in range(DRILLS)]
        found["answering"] = [whole_seconds(each) for each in drills]
        found["how"] = ", ".join(sorted({clone.how for each in drills for clone in each.clones}))
        found["steady"] = replication(desk, STEADY_BYTES_PER_SECOND)
        found["busy"] = replication(desk, None)
        for key, size, count in (("small", SMALL_GB, DRILLS), ("large", LARGE_GB, DRILLS_LARGE)):
            grow(town, size)
            point(desk)
            drills = [drill(desk) for _ in range(count)]
            found[key] = [sum(each.seconds[part] for part in ("clone", "start", "checks")) for each in drills]
            found[f"{key}_whole"] = [whole_seconds(each) for each in drills]
    return found


def point(desk: Desk) -> None:
    """A round, and with it a recovery point at DR."""
    say("a round")
    done = run_rounds(
        desk,
        [SYSTEM],
        by="ben",
        override=Override(frozenset(), ""),
        wait_seconds=0.0,
        prune=True,
        tell=lambda system, progress: None,
        on_round=lambda round_, removed: None,
    )
    complain_of_rounds(done)


def drill(desk: Desk) -> BubbleDrill:
    """One drill without the way back. That its point grows older than the objective meanwhile is no matter here."""
    with when_free(desk, 0.0) as recorder:
        driller = BubbleDriller(desk.inventory.systems, desk.inventory.hosts, desk.drivers, recording(desk, recorder))
        found = driller.drill(SYSTEM, bubble=new_run_id(), by="ben", way_back=False)
    if not (found.operational_at and found.isolated) or found.left.any or found.production_changed:
        raise BenchmarkFailed(f"a drill did not pass: {'; '.join(found.why_not)}")
    say(f"a drill: {found.seconds}")
    return found


def whole_seconds(found: BubbleDrill) -> float:
    return (datetime.fromisoformat(found.operational_at) - datetime.fromisoformat(found.begun_at)).total_seconds()


def grow(town: Town, size_gb: int) -> None:
    """So many GB of files on both hosts, no block of which is like another."""
    say(f"{size_gb} GB")
    source, replica = (town.path_on_machine(f"{site}-filing1", ATTACHMENTS) for site in ("onprem", "dr"))
    like = source.stat()
    for top in (source, replica):
        (top / "more").mkdir(exist_ok=True)
        os.chown(top / "more", like.st_uid, like.st_gid)
    block = os.urandom(BLOCK_BYTES)
    for number in range(size_gb * 1_000_000_000 // BLOCK_BYTES):
        path = source / "more" / f"{number}.bin"
        if path.exists():
            continue
        with path.open("wb") as stream:
            stream.write(number.to_bytes(16) + block[16:])
        os.chown(path, like.st_uid, like.st_gid)
        # One file of this machine under two roots: its second copy would only cost time.
        (replica / "more" / path.name).hardlink_to(path)
    os.sync()


def replication(desk: Desk, bytes_per_second: int | None) -> dict[str, list[float]]:
    """MB/s that DR replays while the source is written to: alone, and while a drill goes on; in turns."""
    found: dict[str, list[float]] = {"alone": [], "drilled": []}
    with writer(desk, bytes_per_second):
        time.sleep(2.0)
        for _ in range(PAIRS):
            found["alone"].append(replayed_meanwhile(desk, lambda: time.sleep(ALONE_SECONDS)))
            found["drilled"].append(replayed_meanwhile(desk, lambda: drill(desk)))
    say(str(found))
    return found


def replayed_meanwhile(desk: Desk, deed: Any) -> float:
    began, before = time.monotonic(), replayed(desk)
    deed()
    return (replayed(desk) - before) / (time.monotonic() - began) / 1e6


def replayed(desk: Desk) -> int:
    return parse_lsn(cluster_at(desk, Side.DR).sql("select pg_last_wal_replay_lsn()"))


def cluster_at(desk: Desk, side: Side) -> ClusterHost:
    system = desk.inventory.systems[SYSTEM]
    cluster = next(each for each in system.datasets if isinstance(each, PostgresCluster))
    return ClusterHost(cluster, desk.transports(desk.inventory.hosts[system.host_of(side, cluster.name)]))


@contextmanager
def writer(desk: Desk, bytes_per_second: int | None) -> Iterator[None]:
    """While inside, the source writes: so much log each second, or as much as it can."""
    cluster, over = cluster_at(desk, Side.SOURCE), threading.Event()
    cluster.sql("create table bench (g int, t text)", database="filing")
    pace = "" if bytes_per_second is None else f"; select pg_sleep({2_200_000 / bytes_per_second:.3f})"

    def write() -> None:
        while not over.is_set():
            cluster.sql(
                "truncate bench; " + f"{WRITE}{pace}; " * TRUNCATE_EVERY, database="filing", timeout_seconds=600
            )

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        cluster.sql("drop table bench", database="filing")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(json.dumps(carry_out()))
