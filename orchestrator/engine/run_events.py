"""What the evidence is told of a run as a whole: created, started, finished."""

import platform
import socket
from collections.abc import Collection
from typing import Any

from orchestrator import __version__
from orchestrator.engine.event_stream import EventStream
from orchestrator.engine.worker_store import RunRow
from orchestrator.foundation.canonical_json import canonical_json
from orchestrator.model.names import SystemName
from orchestrator.model.plan import Plan

SYSTEMS_NAMED_MAX = 200  # larger waves are named in the plan's artifact only: an event has room for 64 KiB


def tell_run_begun(
    events: EventStream, row: RunRow, plan: Plan, *, systems: Collection[SystemName], worker: str
) -> None:
    """run.created with all that identifies what will run, then run.started. `systems` are those that this run has."""
    planned_systems = [planned for planned in plan.systems if planned.system.name in systems]
    data: dict[str, Any] = {
        "plan": row.plan,
        "planArtifact": events.keep(canonical_json(plan.model_dump(mode="json")), "application/json"),
        "wave": row.wave,
        "kind": row.kind,
        "operator": row.operator,
        "author": plan.author,
        "runbook": {"id": plan.runbook, "version": plan.runbook_version, "digest": plan.runbook_digest},
        "inventory": plan.inventory_digest,
        "facts": plan.facts_digest,
        "systemsTotal": len(planned_systems),
        "tool": {"name": "skerry", "version": __version__, "python": platform.python_version()},
        "host": {"name": socket.gethostname(), "worker": worker},
    }
    if len(planned_systems) <= SYSTEMS_NAMED_MAX:
        data["systems"] = [planned.system.name for planned in planned_systems]
        data["objectives"] = {
            planned.system.name: {"rto": planned.system.objectives.rto, "rpo": planned.system.objectives.rpo}
            for planned in planned_systems
        }
    events.tell("run.created", run=row.run, data=data)
    events.tell("run.started", run=row.run, data={"operator": row.operator, "plan": row.plan})


def tell_run_finished(events: EventStream, run: str, systems: dict[str, tuple[str, str]]) -> None:
    """run.finished; passed only when every system is committed. Partial is never passed."""
    counts: dict[str, int] = {}
    for state, _ in systems.values():
        counts[state] = counts.get(state, 0) + 1
    data: dict[str, Any] = {
        "result": _result(set(counts)),
        "rolledBack": counts.get("rolled_back", 0) > 0,
        "counts": counts,
    }
    if len(systems) <= SYSTEMS_NAMED_MAX:
        data["systems"] = {name: {"state": state, "reason": reason} for name, (state, reason) in systems.items()}
    events.tell("run.finished", run=run, data=data)


def _result(states: set[str]) -> str:
    """The run's outcome from its systems': passed, rolled_back, partial (some here, some back), or failed."""
    if states == {"committed"}:
        return "passed"
    if states == {"rolled_back"}:
        return "rolled_back"
    return "partial" if states == {"committed", "rolled_back"} else "failed"
