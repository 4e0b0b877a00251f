"""The ledger: durable appends beside what the disk can do, and how fast a whole log is verified."""

import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.row import row
from orchestrator.evidence.envelope import UnnumberedEvent, prepare_event
from orchestrator.evidence.ingest import Ballast, Ingest
from orchestrator.evidence.log import Publisher
from orchestrator.evidence.note import NoteSigner
from orchestrator.evidence.signing.log_keys import Algorithm, SigningKey
from orchestrator.evidence.verify_log import verify_log
from orchestrator.foundation.clock import SystemClock

COMMAND = "make bench BENCH=ledger"
ORIGIN = "bench.example/ledger"
ROUNDS = 5
WAITING_EVENTS = 3_000
PIPELINED_EVENTS = 60_000
VERIFIED_EVENTS = int(os.environ.get("SKERRY_BENCH_EVENTS", "1000000"))
FLIGHT_EVENTS = 500
MIB = 1024 * 1024


def event(number: int) -> UnnumberedEvent:
    """One event of a playbook, some 770 bytes in the log."""
    return prepare_event(
        run=f"0193a8c0-7b1e-7d3a-9f00-{number // 1000:012d}",
        kind="ansible.event",
        time="2026-11-21T22:18:00.123Z",
        source="urn:skerry:controller:bench",
        subject="filing/drain/1",
        data={
            "playbook": "drain",
            "counter": number % 1000,
            "uuid": f"{number:032x}",
            "host": "onprem-filing1",
            "task": "Wait until requests under way have ended",
            "action": "ansible.builtin.wait_for",
            "changed": False,
            "rc": 0,
            "stdout": "x" * 300,
        },
    )


def disk_syncs_per_second(folder: Path) -> float:
    """What the disk itself allows: 4 KiB appended and fdatasync, again and again."""
    with (folder / "probe").open("wb", buffering=0) as stream:
        began = time.perf_counter()
        for _ in range(500):
            stream.write(b"x" * 4096)
            os.fdatasync(stream.fileno())
        return 500 / (time.perf_counter() - began)


def opened(folder: Path) -> Ingest:
    folder.mkdir()
    return Ingest(folder / "ledger.db", Ballast(folder / "ballast", 4096), lambda reason: event(0))


def one_caller_waiting(folder: Path) -> float:
    ingest = opened(folder)
    began = time.perf_counter()
    for number in range(WAITING_EVENTS):
        ingest.commit(event(number))
    seconds = time.perf_counter() - began
    ingest.close()
    return WAITING_EVENTS / seconds


def pipelined(folder: Path, count: int = PIPELINED_EVENTS) -> float:
    """One producer with some hundreds of events in flight, making the JSON included."""
    ingest = opened(folder)
    began = time.perf_counter()
    flight = []
    for number in range(count):
        flight.append(ingest.add(event(number)))
        if len(flight) == FLIGHT_EVENTS:
            flight[0].result()
            del flight[: FLIGHT_EVENTS // 2]
    for future in flight:
        future.result()
    seconds = time.perf_counter() - began
    ingest.close()
    return count / seconds


def median_of(measure: Callable[[Path], float], folder: Path) -> float:
    figures = []
    for number in range(ROUNDS):
        place = folder / f"{measure.__name__}-{number}"
        figures.append(measure(place))
        shutil.rmtree(place)
    return statistics.median(figures)


def make_log(folder: Path, count: int) -> NoteSigner:
    pipelined(folder, count)
    signer = NoteSigner(ORIGIN, SigningKey.generate(Algorithm.ED25519))
    publisher = Publisher(folder / "ledger.db", folder / "log", ORIGIN, [signer], SystemClock())
    publisher.publish()
    publisher.close()
    return signer


def _verify(folder: Path, signer_key: Any, processes: int, answer: Any) -> None:
    began = time.perf_counter()
    report = verify_log(folder, vkeys=[signer_key], processes=processes)
    seconds = time.perf_counter() - began
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    answer.put((report.verified, report.size / seconds, (own + children) / 1024))


def verified(folder: Path, signer: NoteSigner, processes: int) -> tuple[float, float]:
    """Events each second, and MiB at the most, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    child = context.Process(target=_verify, args=(folder, signer.verifier_key, processes, answer))
    child.start()
    good, rate, mebibytes = answer.get()
    child.join()
    if not good:
        raise RuntimeError("the log that was just made does not verify")
    return rate, mebibytes


def rows() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="skerry-bench-ledger-") as name:
        folder = Path(name)
        disk = disk_syncs_per_second(folder)
        waiting = median_of(one_caller_waiting, folder)
        flowing = median_of(pipelined, folder)
        signer = make_log(folder / "log", VERIFIED_EVENTS)
        # The quickest of three: what else this machine does at the moment is not what is measured.
        one = max(verified(folder / "log", signer, 1) for _ in range(3))
        two = max(verified(folder / "log", signer, 2) for _ in range(3))
    memory = max(one[1], two[1])
    told = f"verify {VERIFIED_EVENTS} events"
    probe = "fdatasync of 4 KiB on this disk"
    appended: dict[str, Any] = {"unit": "events/s", "peer": disk, "peer_name": probe, "command": COMMAND}
    return [
        row("append, one caller waiting", ours=waiting, goal="at least 4000", met=waiting >= 4000, **appended),
        row("append, pipelined", ours=flowing, goal="at least 40000", met=flowing >= 40_000, **appended),
        row(
            f"{told}, one process",
            ours=one[0],
            unit="events/s",
            goal="at least 400000",
            met=one[0] >= 4e5,
            command=COMMAND,
        ),
        row(
            f"{told}, two processes",
            ours=two[0],
            peer=one[0],
            peer_name="one process",
            unit="events/s",
            goal="at least 1.5 times one process",
            met=two[0] >= 1.5 * one[0],
            command=COMMAND,
        ),
        row(f"{told}, memory", ours=memory, unit="MiB", goal="under 400", met=memory < 400, command=COMMAND),
    ]
