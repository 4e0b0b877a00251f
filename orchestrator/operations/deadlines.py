"""When a run that waits for its commit is taken back by itself, for whoever looks; the reducer alone decides it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from orchestrator.foundation.clock import timestamp

# In any other state it is over, goes back already, or a person is asked and decides.
_COUNTED = ("waiting", "running", "paused")


def with_deadlines(run: dict[str, Any], plan: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The run (as RunStatus) with `due` of each system: the step that must have passed, and at what time, or null.

    `plan` reads the run's plan, and is asked only where a deadline may count.
    """
    if not any(_counts(system) for system in run["systems"]):
        return {**run, "systems": [{**system, "due": None} for system in run["systems"]]}
    steps = {planned["system"]["name"]: planned["steps"] for planned in plan()["systems"]}
    return {
        **run,
        "systems": [
            {**system, "due": _due(system, steps[system["system"]]) if _counts(system) else None}
            for system in run["systems"]
        ],
    }


def _counts(system: dict[str, Any]) -> bool:
    return system["state"] in _COUNTED and not any(step["mode"] == "undo" for step in system["steps"])


def _due(system: dict[str, Any], steps: list[dict[str, Any]]) -> dict[str, str] | None:
    passed = {row["step"]: row["finished_at"] for row in system["steps"] if row["state"] == "done"}
    times = [
        (datetime.fromisoformat(passed[limit["after"]]) + timedelta(seconds=limit["seconds"]), str(step["id"]))
        for step in steps
        if (limit := step.get("not_later_than")) and limit["after"] in passed and step["id"] not in passed
    ]
    if not times:
        return None
    at, step_id = min(times)
    return {"step": step_id, "at": timestamp(at)}
