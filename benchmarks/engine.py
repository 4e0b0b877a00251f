"""The engine: a wave of no-op steps with evidence, what waiting costs, and how quick people are served.

Each figure is measured in a process of its own: `python -m benchmarks.engine SCENARIO` prints it as JSON.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.row import BenchmarkFailed, row
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import ProgressSink
from orchestrator.engine.store import Store, open_store
from orchestrator.engine.worker import EngineWorker, open_worker
from orchestrator.evidence.recorder import open_recorder
from orchestrator.foundation.clock import SystemClock
from orchestrator.model.action import Approval, Preflight
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.plan import Plan
from orchestrator.model.step import Step
from orchestrator.planning.gates import judge_gate
from tests.fakes.plans import a_plan, a_step

SYSTEMS = int(os.environ.get("SKERRY_BENCH_SYSTEMS", "1000"))
STEPS = 12
WAITING = 500
RUNS_STORED = 10_000
IDLE_SECONDS = 10.0
MIB = 1024


class NoOp:
    """A verb that does nothing, at once."""

    def __call__(self, verb: str) -> "NoOp":
        return self

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        return Outcome.done()


def chain(length: int) -> list[Step]:
    steps: list[Step] = []
    for number in range(length):
        needs = [steps[-1].id] if steps else []
        steps.append(a_step(f"step-{number}", Preflight(), needs=needs))
    return steps


def names(count: int) -> tuple[str, ...]:
    return tuple(f"system-{number}" for number in range(count))


@contextmanager
def working(folder: Path, plan: Plan) -> Iterator[tuple[Store, EngineWorker]]:
    """A worker with the real ledger, over a store that holds one submitted run."""
    url = f"sqlite:///{folder}/state.db"
    store = open_store(url)
    store.runs.submit("run-1", plan, kind="migrate", operator="ana")
    recorder = open_recorder(folder / "ledger", origin="skerry.test/bench", source="bench", clock=SystemClock())
    worker = open_worker(url, f"sqlite:///{folder}/engine.db", NoOp(), recorder, judge_gate=judge_gate)
    worker.start()
    try:
        yield store, worker
    finally:
        worker.stop()
        recorder.close()
        store.close()


def memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def wave(folder: Path) -> dict[str, float]:
    plan = a_plan(chain(STEPS), systems=names(SYSTEMS))
    began = time.perf_counter()
    with working(folder, plan) as (_, worker):
        status = worker.await_finished("run-1", timeout_seconds=600)
        seconds = time.perf_counter() - began
    states = {found.state for found in status.systems}
    if states != {"committed"}:
        raise BenchmarkFailed(f"the wave ended {states}")
    return {"seconds": seconds, "memory": memory_mib()}


def waiting(folder: Path) -> dict[str, float]:
    steps = [a_step("ask", Approval(), timeout=86400), a_step("act", Preflight(), needs=("ask",))]
    with working(folder, a_plan(steps, systems=names(WAITING))) as (store, _):
        while sum(len(found.steps) for found in store.runs.status("run-1").systems) < WAITING:
            time.sleep(0.2)
        time.sleep(2)
        used, began = time.process_time(), time.monotonic()
        time.sleep(IDLE_SECONDS)
        idle = (time.process_time() - used) / (time.monotonic() - began)
        answered = [answer_seconds(store, f"system-{number}") for number in range(15)]
    return {"idle_percent": 100 * idle, "answer_seconds": statistics.median(answered), "memory": memory_mib()}


def answer_seconds(store: Store, system: str) -> float:
    """From a person's word to the end of the next step."""
    began = time.perf_counter()
    store.runs.request("run-1", system, "confirm", by="ana", reason="go")
    while True:
        found = next(found for found in store.runs.status("run-1").systems if found.system == system)
        if found.state == "committed":
            return time.perf_counter() - began
        time.sleep(0.01)


def reading(folder: Path) -> dict[str, float]:
    url = f"sqlite:///{folder}/state.db"
    store = open_store(url)
    for number in range(RUNS_STORED):
        plan = a_plan(chain(1), systems=(f"system-{number}",), wave=f"wave-{number}")
        store.runs.submit(f"run-{number}", plan, kind="migrate", operator="ana")
    store.close()
    program = (
        "from orchestrator.engine.store import open_store\n"
        f"store = open_store({url!r})\n"
        "assert len(store.runs.list()) == 100\n"
        "store.runs.status('run-77')\n"
    )
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        seconds.append(time.perf_counter() - began)
    return {"seconds": statistics.median(seconds[1:])}


SCENARIOS: dict[str, Callable[[Path], dict[str, float]]] = {"wave": wave, "waiting": waiting, "reading": reading}


def measured(scenario: str) -> dict[str, float]:
    words = [sys.executable, "-m", "benchmarks.engine", scenario]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise BenchmarkFailed(f"{scenario}: {ended.stderr.strip().splitlines()[-1:]}")
    figures: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return figures


def rows() -> list[dict[str, Any]]:
    command = "python -m benchmarks.run engine"
    moved, waited, read = measured("wave"), measured("waiting"), measured("reading")
    memory = max(moved["memory"], waited["memory"])
    idle, answer = waited["idle_percent"], waited["answer_seconds"]
    goal_seconds = 0.12 * SYSTEMS

    def figure(name: str, ours: float, unit: str, goal: str, *, met: bool) -> dict[str, Any]:
        return row(name, ours=ours, unit=unit, command=command, goal=goal, met=met)

    return [
        figure(
            f"wave of {SYSTEMS} systems x {STEPS} no-op steps, evidence written",
            moved["seconds"],
            "s",
            f"under {goal_seconds:g}",
            met=moved["seconds"] < goal_seconds,
        ),
        figure("worker's memory", memory, "MiB", "under 300", met=memory < 300),
        figure(f"idle, {WAITING} systems waiting for approval", idle, "% of a core", "under 5", met=idle < 5),
        figure("approval to the end of the next step", answer, "s", "under 0.5", met=answer < 0.5),
        figure(f"listing runs, {RUNS_STORED} stored", read["seconds"], "s", "under 0.5", met=read["seconds"] < 0.5),
    ]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="skerry-bench-engine-") as scratch:
        print(json.dumps(SCENARIOS[sys.argv[1]](Path(scratch))))
