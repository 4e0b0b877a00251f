"""Reading commands beside 10 000 stored runs: each a process of its own, as an operator starts it."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.row import median_seconds, row
from orchestrator.engine.store import Store, open_store
from orchestrator.engine.tables import plans, runs, steps, system_runs
from orchestrator.foundation.canonical_json import canonical_json
from orchestrator.model.outcome import Outcome
from orchestrator.model.plan import Plan
from tests.fakes.plans import a_plan, shipped_steps

RUNS_STORED = 10_000
PLANS_STORED = 500
ROUNDS = 5
GOAL_SECONDS = 0.5
ROOT = Path(__file__).resolve().parents[1]
ESTATE = ROOT / "tests" / "good_inventories" / "small"


def fill(store: Store) -> Plan:
    """Runs of two systems each, all their steps done; the newest plan."""
    planned = [a_plan(shipped_steps(), systems=("filing", "archive"), wave=f"wave-{n}") for n in range(PLANS_STORED)]
    for plan in planned:
        store.catalogue.put("plan", plan.digest, plan.model_dump(mode="json"))
    done = Outcome.done("as it should be").model_dump_json()
    times = {"begun_at": "2026-01-01T00:00:00.000Z", "started_at": "2026-01-01T00:00:00.000Z"}
    ended = {"finished_at": "2026-01-01T00:00:01.000Z", "seconds": 1.0, "outcome": done}
    with store.database.writing() as connection:
        connection.execute(
            sa.insert(plans),
            [
                {"digest": plan.digest, "document": canonical_json(plan.model_dump(mode="json")).decode()}
                for plan in planned
            ],
        )
        for number in range(RUNS_STORED):
            plan = planned[number % PLANS_STORED]
            run = f"0193{number:08x}-0000-7000-8000-000000000000"
            about = {"run": run, "plan": plan.digest, "wave": plan.wave, "kind": "migrate", "operator": "ben"}
            moment = f"2026-01-01T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}.000Z"
            state = {"state": "finished", "created_at": moment, "finished_at": moment}
            connection.execute(sa.insert(runs), [about | state])
            names = [each.system.name for each in plan.systems]
            rows = [
                {"run": run, "system": name, "position": position, "state": "committed", "over": True, "enqueued": True}
                for position, name in enumerate(names)
            ]
            connection.execute(sa.insert(system_runs), rows)
            deeds = [
                {"key": f"{run}/{name}/{step.id}/do", "run": run, "system": name, "step": step.id, "mode": "do"}
                | {"state": "done", "starts": 1, "attempt": 1, "worker": "w"}
                | times
                | ended
                for name in names
                for step in plan.systems[0].steps
            ]
            connection.execute(sa.insert(steps), deeds)
    return planned[-1]


def rows() -> list[dict[str, Any]]:
    """Wall time of each command, median of five."""
    found = []
    with tempfile.TemporaryDirectory(prefix="skerry-bench-reading-") as folder:
        store = open_store(f"sqlite:///{folder}/state.db")
        newest = fill(store)
        store.close()
        environment = {**os.environ, "SKERRY_HOME": folder, "SKERRY_INVENTORY": str(ESTATE)}
        program = str(Path(sys.executable).parent / "skerry")
        for words in (
            ["runs", "list"],
            ["runs", "list", "--json"],
            ["runs", "show", f"0193{77:08x}"],
            ["plan", "list"],
            ["plan", "show", newest.digest],
            ["estate", "show"],
        ):
            seconds = median_seconds([program, *words], rounds=ROUNDS, environment=environment)
            said = " ".join(word if len(word) < 40 else "DIGEST" for word in words)
            found.append(
                row(
                    f"skerry {said}, {RUNS_STORED} runs stored",
                    ours=seconds,
                    unit="s",
                    goal=f"under {GOAL_SECONDS:g}",
                    met=seconds < GOAL_SECONDS,
                    command="make bench BENCH=reading",
                )
            )
    return found


if __name__ == "__main__":
    for found_row in rows():
        print(found_row["name"], found_row["ours"], found_row["met"])
