"""Watching a run from outside: what changed since the last look, by the stored state alone."""

import time
from collections.abc import Iterator
from typing import Any

from orchestrator.operations.reading import run_document

LOOK_SECONDS = 0.5
PROGRESS_SECONDS = 5.0  # how often the progress of a step is told
_RESTING = frozenset({"committed", "rolled_back", "failed", "rollback_failed", "cancelled", "paused"})


def followed(named: str, look_seconds: float = LOOK_SECONDS) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The run as RunStatus, and the steps that came or changed, each time something did; ends when all is at rest. What
    a step is doing counts as a change every few seconds.

    Raises UsageError for none or several runs of that name.
    """
    seen: dict[tuple[str, str, str], tuple[Any, ...]] = {}
    told: dict[tuple[str, str, str], float] = {}
    run = run_document(named)["run"]
    while True:
        status = run_document(run)
        changes = []
        for step in (step for system in status["systems"] for step in system["steps"]):
            key = (step["system"], step["step"], step["mode"])
            state = (step["state"], step["result"], step["attempts"])
            moves = step["doing"] is not None and time.monotonic() - told.get(key, 0.0) >= PROGRESS_SECONDS
            if seen.get(key) != state or moves:
                seen[key], told[key] = state, time.monotonic()
                changes.append(step)
        resting = status["requests_open"] == 0 and all(each["state"] in _RESTING for each in status["systems"])
        if changes or resting:
            yield status, changes
        if resting:
            return
        time.sleep(look_seconds)
