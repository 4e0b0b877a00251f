"""Doors round the gates of steps: what the log must tell before one may count."""

from orchestrator.evidence.story import Attempt, SystemStory


def went_round(system: SystemStory, attempt: Attempt, gate: str) -> bool:
    """Whether it was told before the step who goes round its gate, and why. That is warned of, and no pass."""
    return any(
        event.step == attempt.step
        and event.index < attempt.started.index
        and event.data.get("gate") == f"{gate} of {attempt.step}"
        and bool(event.data.get("by"))
        and bool(event.data.get("because"))
        for event in system.of("gate.skipped")
    )
